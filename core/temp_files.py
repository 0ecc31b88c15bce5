"""Temporary files of customers' pictures that a killed process of ours could not remove."""

import contextlib
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path

UPLOADS, FETCHED = "misc-upload-", "misc-fetched-"
"""Prefixes of an upload's folder, and of a file that a worker fetched."""

_SECONDS = 24 * 3600
"""Longer than any upload and any job: the process that made an older entry was killed."""


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
