"""Temporary files of customers' pictures that a killed process of ours could not remove."""

import contextlib
import errno
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from core.errors import SettingsInvalid, SpaceExhausted
from core.logging import get_logger
from core.settings import TempSettings

_log = get_logger(__name__)

UPLOADS, FETCHED = "misc-upload-", "misc-fetched-"
"""Prefixes of an upload's folder, and of a file that a worker fetched."""

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}

_SECONDS = 24 * 3600
"""Longer than any upload and any job: the process that made an older entry was killed."""


def use_temp_folder(settings: TempSettings) -> None:
    """Have this process and its children keep temporary files in the folder of the settings, which is made where it is
    missing; raises SettingsInvalid for one that cannot be written to."""
    if settings.path is None:
        return
    folder = settings.path.absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        # A folder that is only full now may have room again when it is needed.
        if error.errno not in _FULL:
            raise SettingsInvalid(f"MISC_TEMP_PATH: {folder} cannot be used: {error.strerror or error}") from None
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)


@contextlib.contextmanager
def space_errors(message: str) -> Iterator[None]:
    """Tell a temporary folder that is full, or cannot be written to, from a defect: raises SpaceExhausted."""
    try:
        yield
    except OSError as error:
        # A folder that cannot be made anywhere comes without its errno.
        if error.errno in _FULL | _DENIED or isinstance(error, FileNotFoundError):
            _log.error("temporary_folder_unusable", error=str(error))
            raise SpaceExhausted(message) from error
        raise


def remove_stale_temp_files(prefix: str) -> int:
    """Delete this user's temporary entries with `prefix` older than a day; return the count."""
    removed = 0
    for path in Path(tempfile.gettempdir()).glob(prefix + "*"):
        with contextlib.suppress(OSError):
            status = path.lstat()
            if status.st_uid != os.geteuid() or time.time() - status.st_mtime <= _SECONDS:
                continue
            if stat.S_ISDIR(status.st_mode):
                shutil.rmtree(path)
            elif stat.S_ISREG(status.st_mode):
                path.unlink()
            else:
                continue
            removed += 1
    return removed
