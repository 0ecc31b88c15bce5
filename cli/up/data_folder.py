"""The folder that keeps everything of an embedded archive: where its parts lie, and who may work in it."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

_MODE = 0o700
"""Pictures and descriptions are for who runs the service."""


class StackError(Exception):
    """The service cannot be run here; the message says why and what to do."""

    code = "stack_failed"


class DataFolderInUse(StackError):
    """Another `misc up` or `misc demo` works on this data folder."""

    code = "data_folder_in_use"


@dataclass(frozen=True)
class DataFolder:
    """A data folder, be it there or not."""

    path: Path

    @property
    def database(self) -> Path:
        """The file of the database."""
        return self.path / "misc.db"

    @property
    def objects(self) -> Path:
        """The folder of the storage."""
        return self.path / "objects"

    def lock(self) -> int:
        """Make the folder and take it for this process; returns the descriptor that holds it.

        Raises StackError, and DataFolderInUse where another process has it.
        """
        try:
            self.path.mkdir(mode=_MODE, parents=True, exist_ok=True)
            if self.path.stat().st_uid == os.geteuid():
                # Pictures lie there, and a folder of an earlier version was everybody's to read.
                self.path.chmod(_MODE)
            lock_fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StackError(f"The data folder {self.path} cannot be used: {error.strerror}. Name another.") from error
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(lock_fd, 100).decode(errors="replace").strip() or "unknown"
            os.close(lock_fd)
            raise DataFolderInUse(
                f"The data folder {self.path} is in use by another running service (process {holder}). "
                "Stop that one, or name another folder with --data."
            ) from None
        os.truncate(lock_fd, 0)
        os.write(lock_fd, f"{os.getpid()}\n".encode())
        return lock_fd
