"""SHA-256 of files of several gigabytes: computed once for a file as it is, remembered next to it, computed anew on
request. Reads bytes and interprets none."""

import errno
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from codec.atomic_files import write_atomically
from codec.errors import WeightsCorrupt, WeightsError, WeightsMissing

CHUNK_BYTES = 1024 * 1024

FREE_RESERVE_BYTES = 64 * 1024 * 1024
"""Left free when a file is taken in: a full disk stops more than this program."""

_known: dict[tuple[str, int, int], str] = {}
"""By (path, size, mtime_ns); serves where the folder is read-only and nothing can be written next to the file."""

_known_lock = threading.Lock()


@dataclass(frozen=True)
class Identity:
    """A file as it is now: replaced or written to, it has another one. A link is followed."""

    path: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> "Identity":
        """Raises WeightsMissing when there is no such file."""
        try:
            status = path.stat()
        except OSError as error:
            raise WeightsMissing(f"There is no file of weights at {path} ({error.strerror}).") from None
        return cls(str(path.absolute()), status.st_size, status.st_mtime_ns)


def digest_of(path: Path, *, is_anew: bool = False, progress: Callable[[int], None] = lambda _: None) -> str:
    """SHA-256 of a file, hexadecimal. Hashes when the file changed since the last time, or where `is_anew`.

    `progress` is called with each number of bytes that were hashed.
    """
    identity = Identity.of(path)
    known = None if is_anew else recall(path)
    if known is not None:
        return known
    sha256 = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                sha256.update(chunk)
                progress(len(chunk))
    except OSError as error:
        raise WeightsCorrupt(f"{path} cannot be read: {error.strerror}.") from None
    if Identity.of(path) != identity:
        raise WeightsCorrupt(f"{path} changes while it is read. Wait until whatever writes to it has ended.")
    remember(path, sha256.hexdigest())
    return sha256.hexdigest()


def recall(path: Path) -> str | None:
    """The digest that the file had when it was last hashed, if it has not been touched since."""
    identity = Identity.of(path)
    key = (identity.path, identity.size, identity.mtime_ns)
    with _known_lock:
        if key in _known:
            return _known[key]
    try:
        noted = json.loads(_note_of(path).read_bytes())
        if (noted["bytes"], noted["mtime_ns"]) != (identity.size, identity.mtime_ns):
            return None
        digest = str(noted["sha256"])
    # A note that is missing, cut off or nonsense says nothing, and the file is hashed.
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return digest


def remember(path: Path, sha256: str) -> None:
    """Keep a digest that was computed from all of the file's bytes, here and, where the folder allows it, on disk."""
    identity = Identity.of(path)
    with _known_lock:
        _known[identity.path, identity.size, identity.mtime_ns] = sha256
    note = {"sha256": sha256, "bytes": identity.size, "mtime_ns": identity.mtime_ns}
    # In a read-only folder other processes hash for themselves.
    with suppress(OSError):
        write_atomically(_note_of(path), json.dumps(note).encode())


def copy_hashed(file: Path, target: Path, progress: Callable[[int], None] = lambda _: None) -> str:
    """Copy and hash in one reading, so that what is kept is what was hashed. Returns the digest.

    Raises WeightsMissing without the file and WeightsError when it does not fit or cannot be copied.
    """
    size = Identity.of(file).size
    sha256 = hashlib.sha256()
    try:
        if shutil.disk_usage(target.parent).free < size + FREE_RESERVE_BYTES:
            raise OSError(errno.ENOSPC, f"it has {size} bytes, and there is not that much room")
        with file.open("rb") as source, target.open("wb") as copy:
            while chunk := source.read(CHUNK_BYTES):
                sha256.update(chunk)
                copy.write(chunk)
                progress(len(chunk))
            copy.flush()
            os.fsync(copy.fileno())
    except OSError as error:
        target.unlink(missing_ok=True)
        raise WeightsError(f"{file} cannot be copied into {target.parent}: {error.strerror}.") from None
    return sha256.hexdigest()


def _note_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.digest")
