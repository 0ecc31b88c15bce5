"""Reads whose bytes are held against their digest, and repeated before they are believed to be wrong."""

from collections.abc import Callable
from typing import TypeVar

from core.errors import ObjectCorrupt, StorageUnavailable
from core.logging import get_logger

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
