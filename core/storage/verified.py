"""Reads whose bytes are held against their digest, and repeated before they are believed to be wrong."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from core.errors import ObjectCorrupt, StorageUnavailable
from core.logging import get_logger
from core.temp_files import space_errors

if TYPE_CHECKING:
    from core.storage import Storage

_log = get_logger(__name__)

ResultT = TypeVar("ResultT")


def verified(read: Callable[[bool], tuple[str, ResultT]], key: str, sha256: str) -> ResultT:
    """The result of a read that returns it with the SHA-256 of the object's bytes; `read(True)` reads again, on a
    connection of its own.

    Raises ObjectCorrupt when the object came twice with the same wrong bytes, and StorageUnavailable when they were
    others each time: then something between the store and this process damages what it carries.
    """
    digest, result = read(False)
    if digest == sha256:
        return result
    again, result = read(True)
    if again == sha256:
        _log.warning("read_was_damaged", key=key)
        return result
    if again != digest:
        raise StorageUnavailable(f"{key} came with other bytes each time it was read; the way to the store is damaged")
    raise ObjectCorrupt(f"{key} does not have the digest {sha256}; restore it from a backup")


def read_through(storage: "Storage", key: str, sha256: str) -> None:
    """Read an object to its end and keep nothing of it; raises what `verified` and `Storage.open` raise."""

    def _read(fresh: bool) -> tuple[str, None]:
        digest = hashlib.sha256()
        with storage.open(key, fresh=fresh) as reader:
            for chunk in reader:
                digest.update(chunk)
        return digest.hexdigest(), None

    verified(_read, key, sha256)


def fetch_file(storage: "Storage", key: str, target: Path, sha256: str | None, no_room: str) -> None:
    """Write an object into a file, verified where its digest is known.

    Raises what `verified` and `Storage.open` raise, and SpaceExhausted with the sentence `no_room`.
    """

    def _fetch(fresh: bool) -> tuple[str, None]:
        digest = hashlib.sha256()
        with space_errors(no_room), target.open("wb") as file, storage.open(key, fresh=fresh) as reader:
            for chunk in reader:
                digest.update(chunk)
                file.write(chunk)
        return "" if sha256 is None else digest.hexdigest(), None

    verified(_fetch, key, sha256 or "")
