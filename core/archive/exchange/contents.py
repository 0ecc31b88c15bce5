"""What an image brings into an export: its stream, its record, its original where that was kept, its reference."""

import contextlib
import hashlib
import io
import tempfile
from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from core.archive import bitstreams, inventory, object_lifecycle, rebuild
from core.archive.exchange.layouts import Group
from core.archive.exchange.ledger import File
from core.archive.inventory import Entry
from core.archive.networks import NetworkCard
from core.archive.object_kinds import kind_of
from core.archive.packs import places
from core.archive.records.record import ImageRecord
from core.database import Database
from core.errors import ObjectCorrupt, ObjectNotFound
from core.storage import Storage
from core.storage.keys import PACKED, digest_in, record_key
from core.storage.verified import fetch_file
from core.temp_files import FETCHED
from models.image import Image
from models.stored_object import ObjectKind

_IN_MEMORY_BYTES = 16 * 1024 * 1024
"""Larger objects go through a file on their way."""

_TIMELESS = datetime(1970, 1, 1, tzinfo=UTC)
"""The moment of networks, which have none that is the same in every archive."""

_NO_ROOM = "The temporary folder has no room for a copy of an object; make some, or set MISC_TEMP_PATH."


def groups_of(
    database: Database, storage: Storage, images: Sequence[Image], lost: Container[str], *, with_originals: bool
) -> Iterator[Group | str]:
    """For each image its files; or, where one of them is damaged or missing, or among the `lost` keys, its id.

    Without originals the record says that none was kept, so that what is exported is whole.
    """
    entries = {image.id: list(_entries_of(image, with_originals=with_originals)) for image in images}
    with database.read() as session:
        sizes = inventory.intact_sizes(session, [entry.key for found in entries.values() for entry in found])
    for image in images:
        files = []
        for entry in entries[image.id]:
            if entry.key not in sizes or entry.key in lost:
                break
            size_bytes = sizes[entry.key]
            size_bytes = storage.head(entry.key).size_bytes if size_bytes is None else size_bytes
            file = File("", size_bytes, entry.sha256, entry.key, int(image.created_at.timestamp()))
            is_bare = image.original_key is not None and not with_originals and _is_record(file)
            try:
                files.append(_without_original(database, storage, file) if is_bare else file)
            except (ObjectNotFound, ObjectCorrupt):
                break
        else:
            if image.record_sha256 is not None:
                yield Group(image.id, image.created_at, files)
                continue
        yield image.id


def network_group(card: NetworkCard, source: Path | None) -> Group:
    """A network with its card: from a file of this machine, or from storage."""
    network = File("", card.size_bytes, card.sha256, card.key, source=None if source is None else str(source))
    new = card.as_object()
    return Group(
        f"network_{card.sha256}",
        _TIMELESS,
        [network, File("", new.size_bytes, new.sha256, new.key, data=card.to_bytes())],
    )


@contextlib.contextmanager
def opened(database: Database, storage: Storage, file: File) -> Iterator[IO[bytes]]:
    """The bytes of a file that is to be written, verified; raises ObjectNotFound, and ObjectCorrupt, which is noted."""
    if file.data is not None:
        yield io.BytesIO(file.data)
        return
    if file.source is not None:
        with Path(file.source).open("rb") as source:
            if hashlib.file_digest(source, "sha256").hexdigest() != file.sha256:
                raise ObjectCorrupt(f"{file.source} does not have the digest {file.sha256}")
            source.seek(0)
            yield source
        return
    assert file.key is not None
    if kind_of(file.key) is ObjectKind.BITSTREAM:
        yield io.BytesIO(bitstreams.get(database, storage, file.sha256))
        return
    with object_lifecycle.damage_noted(database, file.key):
        if file.size_bytes <= _IN_MEMORY_BYTES:
            data = _read(database, storage, file.key, file.sha256)
            if len(data) != file.size_bytes:
                raise ObjectCorrupt(f"{file.key} has {len(data)} bytes, not {file.size_bytes}")
            yield io.BytesIO(data)
            return
        with tempfile.TemporaryDirectory(prefix=FETCHED) as folder:
            path = Path(folder) / "object"
            fetch_file(storage, file.key, path, file.sha256, _NO_ROOM)
            with path.open("rb") as source:
                yield source


def _read(database: Database, storage: Storage, key: str, sha256: str) -> bytes:
    if key.startswith(PACKED):
        return places.get(database, storage, key, _IN_MEMORY_BYTES)
    return storage.get(key, max_bytes=_IN_MEMORY_BYTES, sha256=sha256)


def _entries_of(image: Image, *, with_originals: bool) -> Iterator[Entry]:
    assert image.bitstream_sha256 is not None and image.bitstream_bytes is not None
    yield bitstreams.entry_of(image.bitstream_sha256, image.bitstream_bytes)
    if image.record_sha256 is not None:
        yield Entry(record_key(image.record_sha256), image.record_sha256, None)
    if image.original_key is not None and image.original_sha256 is not None and with_originals:
        yield Entry(image.original_key, image.original_sha256, image.original_bytes)
    if image.reference_key is not None and (sha256 := digest_in(image.reference_key)) is not None:
        yield Entry(image.reference_key, sha256, None)


def _is_record(file: File) -> bool:
    assert file.key is not None
    return kind_of(file.key) is ObjectKind.RECORD


def _without_original(database: Database, storage: Storage, file: File) -> File:
    assert file.key is not None
    found = rebuild.read_record(database, storage, file.key)
    if isinstance(found, str):
        raise ObjectNotFound(found)
    data = revised(found.record, original_key=None).to_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    return replace(file, size_bytes=len(data), sha256=sha256, key=record_key(sha256), data=data)


def revised(record: ImageRecord, **image_values: object) -> ImageRecord:
    """The record with other values of its image."""
    return record.model_copy(update={"image": record.image.model_copy(update=image_values)})
