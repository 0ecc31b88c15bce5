"""Saves of a damaged pack, of which there is no other copy, what is intact in it."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.archive import object_lifecycle
from core.archive.packs import members, packer
from core.database import Database
from core.errors import ObjectNotFound
from core.logging import get_logger
from core.storage.mirrored import Copies

_log = get_logger(__name__)


@dataclass(frozen=True)
class Salvaged:
    """What came of it: how many streams and records live in a good pack now, and the keys of those whose bytes are
    lost, which stay where they are."""

    kept: int
    lost: Sequence[str]


def salvage(database: Database, copies: Copies, pack: str) -> Salvaged:
    """Pack again all that lives in a pack and has its digest, in the order in which it lies there.

    A pack of which the index, the header or dead bytes are damaged comes back as it was, or without what was dead.
    Raises what the stores and the database raise.
    """
    with database.read() as session:
        living = members.living_in(session, pack)
    try:
        packer.repack(database, copies, pack)
    except ObjectNotFound:
        _log.warning("pack_missing", key=pack)
    # A pack that came back as it was is not damaged any more; of another, what was intact lives elsewhere now.
    with database.read() as session:
        left = members.living_in(session, pack) if object_lifecycle.is_damaged(database, pack) else []
    for key, _, _ in left:
        _log.error("packed_bytes_lost", key=key, pack=pack)
    packer.drop_empty(database)
    return Salvaged(len(living) - len(left), [key for key, _, _ in left])
