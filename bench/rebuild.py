"""How long it takes to make the database again from storage: `python -m bench.rebuild --images 10000`.

Fills an archive with made-up images, asks it everything a caller may ask, drops the database, rebuilds it, and asks
the same again: listings, batches, searches, downloads and decodes have to be equal. Prints one JSON document.
"""

import argparse
import hashlib
import io
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from alembic import command
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from api.app import create_app
from api.services import Services
from codec.bitstream import Bits, PixelCoarse, Stream, pack
from codec.decode.pipeline import decode
from codec.encode.describe.concepts import concepts
from codec.media import MISC
from codec.options import DecodeOptions, RestorerName
from core.archive import batches, bitstreams, images, inventory, object_kinds, object_lifecycle, rebuild
from core.archive.object_lifecycle import NewObject
from core.archive.records.writer import write_missing
from core.database import Database
from core.jobs import transitions
from core.logging import configure_logging
from core.settings import APISettings, BrokerSettings, DatabaseSettings, LogSettings, StorageSettings, WorkerSettings
from core.storage import Storage, open_storage
from core.storage.keys import original_key
from migrations.upgrade import alembic_config, upgrade
from models.base import JSONObject, new_id, utc_now
from models.image import Image, ImageState

_LOT = 200
_WIDTH, _HEIGHT = 640, 480
_COLOURS = ("red", "dark grey-blue", "pale yellow", "olive green", "warm grey", "black", "white", "tan")
_QUERIES = ("red", "image shows", "black white", "tan dog", "7", "img 00012", "alice", "unicorn")
_DECODES = 20
_WITH_ORIGINAL = 50
"""One image of so many keeps its original."""


@dataclass(frozen=True)
class Figures:
    """What was measured; times in seconds."""

    images: int
    database: str
    fill_seconds: float
    records_seconds: float
    rebuild_seconds: float
    record_bytes_mean: float
    streams_equal: int
    decodes_equal: int
    is_equal: bool


def main() -> None:
    """Fill, ask, drop, rebuild, ask, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.rebuild", description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--url", help="an empty database, as in MISC_DATABASE_URL; a file of its own by default")
    arguments = parser.parse_args()
    configure_logging(LogSettings(level="warning"), "bench")
    with tempfile.TemporaryDirectory(prefix="misc-rebuild-") as folder:
        url = arguments.url or f"sqlite:///{folder}/misc.db"
        figures = measure(DatabaseSettings(url=url), Path(folder) / "objects", arguments.images)
    print(json.dumps(asdict(figures), indent=2))
    if not figures.is_equal:
        sys.exit("bench.rebuild: the rebuilt archive answers differently")


def measure(settings: DatabaseSettings, objects: Path, count: int) -> Figures:
    """Everything, on an empty database and an empty folder."""
    upgrade(settings)
    database, storage = Database(settings), open_storage(StorageSettings(path=objects))
    started = time.perf_counter()
    fill(database, storage, count)
    filled = time.perf_counter()
    while write_missing(database, storage):
        pass
    recorded = time.perf_counter()
    with database.read() as session:
        records = inventory.holdings(session)[object_kinds.kind_of_folder("records/")]
    before = answers(settings, objects)
    drop(database)
    begun = time.perf_counter()
    upgrade(settings)
    rebuild.rebuild(database, storage)
    rebuilt = time.perf_counter()
    after = answers(settings, objects)
    database.close()
    storage.close()
    return Figures(
        images=count,
        database=database.engine.dialect.name,
        fill_seconds=filled - started,
        records_seconds=recorded - filled,
        rebuild_seconds=rebuilt - begun,
        record_bytes_mean=records.size_bytes / records.objects,
        streams_equal=sum(after["streams"].get(key) == value for key, value in before["streams"].items()),
        decodes_equal=sum(after["decodes"].get(key) == value for key, value in before["decodes"].items()),
        is_equal=before == after,
    )


def drop(database: Database) -> None:
    """Delete every table."""
    with database.connection() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")


def fill(database: Database, storage: Storage, count: int) -> None:
    """Images as encode jobs leave them: in batches, of two owners, described, some with their original."""
    draw = random.Random(1)
    words = [concept.word for concept in concepts()]
    with ThreadPoolExecutor(4) as pool:
        for start in range(0, count, _LOT):
            numbers = range(start, min(count, start + _LOT))
            lot = [_new_stream(number) for number in numbers]
            originals = {number: f"original {number}".encode() for number in numbers if number % _WITH_ORIGINAL == 0}
            list(pool.map(lambda new: _put(storage, new), lot))
            with database.write() as session:
                owner = "alice" if start // _LOT % 3 == 1 else "default"
                batch = batches.create(session, f"lot {start // _LOT}", owner)
                for number, new in zip(numbers, lot, strict=True):
                    image = _add_image(session, number, new, batch.id, owner)
                    images.record_description(session, image, "local", _description(draw, words))
                    if number in originals:
                        _keep_original(session, storage, image, originals[number])


def answers(settings: DatabaseSettings, objects: Path) -> dict[str, Any]:
    """What the interface says of everything: listings, batches, searches, SHA-256 of every stream, some pictures."""
    with open_client(settings, objects) as client:
        listed = list(_pages(client, "/v1/images"))
        searches = {query: [row["id"] for row in _pages(client, "/v1/images", q=query)] for query in _QUERIES}
        files = {row["id"]: client.get(row["links"]["bitstream"]).raise_for_status().content for row in listed}
        kept = [row["links"]["original"] for row in listed if row["links"]["original"] is not None]
        return {
            "images": listed,
            "batches": list(_pages(client, "/v1/batches")),
            "jobs": list(_pages(client, "/v1/jobs")),
            "searches": searches,
            "streams": {image_id: _sha256(data) for image_id, data in files.items()},
            "originals": {path: _sha256(client.get(path).raise_for_status().content) for path in kept},
            "decodes": {image_id: _decoded(data) for image_id, data in list(files.items())[:_DECODES]},
        }


def open_client(settings: DatabaseSettings, objects: Path) -> TestClient:
    """The interface in this process, without a broker."""
    services = Services.open(
        APISettings(),
        settings,
        BrokerSettings(url=f"redis+socket://{objects.parent}/nobody-listens.sock"),
        StorageSettings(path=objects),
        WorkerSettings(),
    )
    return TestClient(create_app(services), base_url="http://localhost")


def _pages(client: TestClient, path: str, **query: str) -> Iterator[dict[str, Any]]:
    cursor: str | None = None
    while True:
        answer = client.get(path, params=query | {"limit": "200"} | ({"cursor": cursor} if cursor else {}))
        page = answer.raise_for_status().json()
        yield from page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return


def _decoded(data: bytes) -> str:
    picture = io.BytesIO()
    decode(data, DecodeOptions(restorer=RestorerName.SMOOTH)).picture.save(picture, "PNG")
    return _sha256(picture.getvalue())


@dataclass(frozen=True)
class _NewStream:
    stream: Stream
    data: bytes
    bits: Bits

    @property
    def sha256(self) -> str:
        return _sha256(self.data)


def _new_stream(number: int) -> _NewStream:
    samples = bytes(value // 8 for value in random.Random(number).randbytes(36))
    stream = Stream(width=_WIDTH, height=_HEIGHT, coarse=PixelCoarse(columns=4, rows=3, level=3, samples=samples))
    packed = pack(stream)
    return _NewStream(stream, packed.data, packed.bits)


def _put(storage: Storage, new: _NewStream) -> None:
    storage.put(bitstreams.entry_of(new.sha256, 0).key, new.data, content_type=MISC, sha256=new.sha256)


def _add_image(session: Session, number: int, new: _NewStream, batch_id: str, owner: str) -> Image:
    image = Image(
        id=new_id("img"), owner=owner, name=f"IMG_{number:05}.jpg", state=ImageState.READY, batch_id=batch_id,
        width=_WIDTH, height=_HEIGHT, media_type="image/jpeg", original_bytes=4_000_000 + number,
        original_sha256=_sha256(str(number).encode()), options={"mode": "pixel"}, description=None,
        # What `record_stream` is about to say: an object is retained for a row that is there.
        bitstream_sha256=new.sha256, seconds={"total": 0.5}, notes=[],
    )  # fmt: skip
    session.add(image)
    session.flush()
    images.record_stream(session, image, new.stream, new.bits, new.sha256)
    now = utc_now()
    transitions.restore_encodes(
        session,
        [
            {"id": new_id("job"), "owner": owner, "queue": "encode", "attempts": 1, "max_attempts": 3,
             "worker": "encode@bench:1", "is_suspect": False, "pauses": 0, "stage": "verify", "progress": 1.0,
             "seconds": {"total": 0.5}, "usage": None, "request_id": f"req-{number}", "image_id": image.id,
             "batch_id": batch_id, "created_at": now, "started_at": now, "finished_at": now + timedelta(seconds=1)}
        ],
    )  # fmt: skip
    return image


def _keep_original(session: Session, storage: Storage, image: Image, data: bytes) -> None:
    sha256 = _sha256(data)
    key = original_key(sha256, "jpg")
    storage.put(key, data, content_type="image/jpeg", sha256=sha256)
    image.original_key, image.original_sha256, image.original_bytes, image.keep_original = key, sha256, len(data), True
    session.flush()
    object_lifecycle.retain(session, NewObject(key, sha256, len(data)))


def _description(draw: random.Random, words: list[str]) -> JSONObject:
    things = [(draw.choice(_COLOURS), draw.choice(words)) for _ in range(3)]
    items = [{"name": f"{colour} {word}", "detail": f"{colour} {word} at the side"} for colour, word in things]
    listed = " and ".join(f"a {colour} {word}" for colour, word in things)
    return {"items": items, "overall": f"The image shows {listed}, in a medium-bright picture with rich colours."}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    main()
