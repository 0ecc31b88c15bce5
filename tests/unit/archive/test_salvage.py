"""What is intact in a damaged pack of which there is no copy is saved, and what is lost is named."""

import random
from pathlib import Path

import pytest
from sqlalchemy import select
from test_packer import SETTINGS, pack_all, sweep

from core.archive import fixity
from core.archive.check import Fault, check
from core.archive.fixity import Outcome
from core.archive.packs import members, packer, places
from core.archive.packs.pack_file import HEADER, TRAILER_BYTES, read_index
from core.archive.records.writer import write_missing
from core.database import Database
from core.errors import ObjectCorrupt
from core.storage.keys import BITSTREAMS, RECORDS
from core.storage.local import LocalStorage
from core.storage.mirrored import Copies
from models.stored_object import ObjectKind, StoredObject


@pytest.fixture
def pack(database: Database, storage: LocalStorage, copies: Copies, filled: dict[str, bytes]) -> Path:
    """The file of the one pack in which all eight streams and their records lie."""
    packer.pack_loose(database, copies, SETTINGS.model_copy(update={"size_bytes": 1 << 26}), fills=False)
    pack_all(database, copies)
    return storage._path(_packs(database)[0])


def _packs(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(StoredObject.key).where(StoredObject.kind == ObjectKind.PACK)))


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def _verify(database: Database, copies: Copies) -> list[Outcome]:
    return [fixity.verify(database, copies, row) for row in fixity.every(database) if row.kind is ObjectKind.PACK]


@pytest.mark.parametrize("where", ["header", "index", "trailer", "cut"])
def test_pack_whose_members_are_intact_is_whole_again(
    database: Database, storage: LocalStorage, copies: Copies, filled: dict[str, bytes], pack: Path, where: str
) -> None:
    (key,), data = _packs(database), pack.read_bytes()
    index = read_index(storage, key)
    places_of = {
        "header": 5,
        "index": index[-1].offset + index[-1].size_bytes + 70,
        "trailer": len(data) - TRAILER_BYTES + 40,
    }
    if where == "cut":
        pack.write_bytes(data[: index[-1].offset + index[-1].size_bytes])
    else:
        _flip(pack, places_of[where])
    assert _verify(database, copies) == [Outcome.MENDED]
    assert _verify(database, copies) == [Outcome.INTACT]
    assert pack.read_bytes() == data, "nothing was dead in it, so that it is the very same pack"
    for wanted, content in filled.items():
        assert places.get(database, storage, wanted, 10**6) == content
    assert check(database, copies).findings == []


def test_lost_stream_is_named_and_all_others_are_packed_again(
    database: Database, storage: LocalStorage, copies: Copies, filled: dict[str, bytes], pack: Path
) -> None:
    (key,) = _packs(database)
    index = read_index(storage, key)
    lost = random.Random(1).choice([member for member in index if member.key.startswith(BITSTREAMS)])
    record = next(member for member in index if member.key.startswith(RECORDS))
    for member in (lost, record):
        _flip(pack, member.offset + 3)
    _flip(pack, index[-1].offset + index[-1].size_bytes + 70)
    assert _verify(database, copies)[0] is Outcome.DAMAGED
    with database.read() as session:
        assert {member for member, _ in members.living_in_damaged(session, 10)} == {lost.key, record.key}
    for wanted, content in filled.items():
        if wanted == lost.key:
            with pytest.raises(ObjectCorrupt):
                places.get(database, storage, wanted, 10**6)
        elif wanted != record.key:
            assert places.get(database, storage, wanted, 10**6) == content
    while write_missing(database, storage):
        pass
    sweep(database, storage)
    assert places.get(database, storage, record.key, 10**6) == filled[record.key], "the record is written anew"
    with database.read() as session:
        assert members.living_in_damaged(session, 10) == [(lost.key, key)]
    assert [(found.key, found.fault) for found in check(database, copies).findings] == [(key, Fault.DAMAGED)]
    assert Outcome.DAMAGED in _verify(database, copies), "again and again, and nothing else changes"
    assert HEADER in pack.read_bytes()


def test_pack_that_is_gone_is_told_and_stays_told(
    database: Database, copies: Copies, filled: dict[str, bytes], pack: Path
) -> None:
    pack.unlink()
    assert _verify(database, copies) == [Outcome.DAMAGED]
    with database.read() as session:
        streams = {member for member, _ in members.living_in_damaged(session, 100) if member.startswith(BITSTREAMS)}
    assert streams == {key for key in filled if key.startswith(BITSTREAMS)}
