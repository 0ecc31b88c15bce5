"""Starts and stops the S3 server as a process of its own, on a folder that it clears away. Knows no pytest."""

import os
import select
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from tests.s3_server.install import ensure_installed

_SCRIPT = Path(__file__).with_name("server.py")
_START_TIMEOUT_SECONDS = 60.0
"""Usually 1 to 2 s; a machine with other work on it may need ten times that."""


class S3Server:
    """A running server and the keys to it."""

    access_key = "test:tester"
    secret_key = "testing"
    region = "us-east-1"

    def __init__(self) -> None:
        """Install where needed and start; raises InstallFailed, or RuntimeError when it does not come up."""
        self._python = ensure_installed()
        self._folder = Path(tempfile.mkdtemp(prefix="misc-s3-", dir=_scratch_folder()))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def folder(self) -> Path:
        """Where its objects lie; its command line names it."""
        return self._folder

    @property
    def endpoint_url(self) -> str:
        """Address of the S3 interface."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start on what was stored before, on the same port; returns when it takes connections."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._python, _SCRIPT, self._folder, str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        stdout = self._process.stdout
        assert stdout is not None
        ready, _, _ = select.select([stdout], [], [], _START_TIMEOUT_SECONDS)
        words = stdout.readline().split() if ready else []
        if len(words) != 2 or words[0] != b"serving":
            raise RuntimeError(f"the S3 server did not start:\n{(self._folder / 'log').read_text()[-4000:]}")
        self.port = int(words[1])

    def kill(self) -> None:
        """End it without notice, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._process = None

    def pause(self) -> None:
        """Make it hang: it takes connections, and says nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on with what came in meanwhile."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def written_bytes(self) -> int:
        """Bytes it has written to files since it started: tells how far an upload is that no folder shows yet."""
        assert self._process is not None
        counters = Path(f"/proc/{self._process.pid}/io").read_text()
        return next(int(line.split()[1]) for line in counters.splitlines() if line.startswith("wchar:"))

    def close(self) -> None:
        """End it and clear its folder away."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def _scratch_folder() -> Path:
    """A folder in memory where there is one: Swift syncs a lot. It has to take extended attributes."""
    candidates = [Path("/dev/shm"), Path(tempfile.gettempdir()), Path.cwd()]
    for folder in candidates:
        try:
            with tempfile.NamedTemporaryFile(dir=folder) as probe:
                os.setxattr(probe.fileno(), "user.swift.probe", b"1")
        except OSError:
            continue
        return folder
    raise RuntimeError(f"none of {', '.join(map(str, candidates))} takes extended attributes")
