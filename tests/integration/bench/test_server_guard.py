"""Servers of a chaos run whose harness was killed."""

import subprocess
import sys
from pathlib import Path

_HARNESS = """
import subprocess, sys, time
from pathlib import Path
from bench.chaos.server_guard import ServerGuard
guard = ServerGuard()
guard.watch(Path(sys.argv[1]))
server = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)", sys.argv[1]], start_new_session=True)
print(server.pid, flush=True)
time.sleep(120)
"""


def test_servers_end_when_their_harness_is_killed(tmp_path: Path) -> None:
    harness = subprocess.Popen([sys.executable, "-c", _HARNESS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)", str(tmp_path.parent / "other")])
    try:
        assert harness.stdout is not None
        server = int(harness.stdout.readline())
        assert Path(f"/proc/{server}").exists()
        harness.kill()
        harness.wait()
        # The pipe to the harness is inherited by nobody but its server, which holds it until it is killed.
        assert harness.stdout.read() == ""
        assert bystander.poll() is None
    finally:
        harness.kill()
        bystander.kill()
        bystander.wait()
