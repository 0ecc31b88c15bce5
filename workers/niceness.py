"""How far a worker stands back behind other processes where they share cores."""

import contextlib
import os
from pathlib import Path


def stand_back(niceness: int, autogroup: Path = Path("/proc/self/autogroup")) -> None:
    """Lower this process's priority, and with it that of the session that it leads, by so many steps of nice(2).

    Linux with autogroups (sched(7)), which desktops and most servers have on, weighs niceness only between processes of
    one session. Whoever starts workers gives each a session, so beside the API's they would stand back for nobody.
    """
    os.nice(niceness)
    # The session of somebody's shell is not this process's to slow down.
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):
            autogroup.write_text(str(niceness))
