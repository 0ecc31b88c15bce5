"""A worker that leads its session lowers the session; one in somebody else's lowers itself only."""

import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = """
import os, sys
from pathlib import Path
from workers.niceness import stand_back
stand_back(5, Path(sys.argv[1]))
print(os.nice(0) - int(sys.argv[2]))
"""


def _stand_back(autogroup: Path, *, leads: bool) -> int:
    """By how much the process itself was lowered."""
    before = subprocess.check_output([sys.executable, "-c", "import os; print(os.nice(0))"], text=True)
    command = [sys.executable, "-c", _SCRIPT, str(autogroup), before.strip()]
    return int(subprocess.check_output(command, text=True, start_new_session=leads))


@pytest.mark.parametrize("leads", [True, False])
def test_session_is_lowered_by_its_leader_alone(tmp_path: Path, leads: bool) -> None:
    autogroup = tmp_path / "autogroup"
    autogroup.write_text("before")
    assert _stand_back(autogroup, leads=leads) == 5
    assert autogroup.read_text() == ("5" if leads else "before")


def test_system_without_autogroups_is_nothing_special(tmp_path: Path) -> None:
    assert _stand_back(tmp_path / "absent" / "autogroup", leads=True) == 5


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this kernel has no autogroups")
def test_kernel_takes_it() -> None:
    script = "from workers.niceness import stand_back; stand_back(5); print(open('/proc/self/autogroup').read())"
    shown = subprocess.check_output([sys.executable, "-c", script], text=True, start_new_session=True)
    assert shown.strip().endswith("nice 5")
