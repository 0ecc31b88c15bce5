"""Packs at size: `python -m bench.packs --streams 100000` packs so many made-up streams with their records in a folder
and an SQLite file, reads every one back, and compares reads of packs with reads of loose objects.

`--swift` does the reads on the S3 server of the tests. `--kills 50 --seed 1` kills a process that packs, rewrites,
unpacks and deletes, so many times, and looks after each whether anything is lost or doubled. Prints a table.
"""

import argparse
import hashlib
import multiprocessing
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from pathlib import Path

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from codec.media import media_type_of
from core.archive import bitstreams, deletions, images, inventory
from core.archive.inventory import Entry
from core.archive.packs import members, packer, places
from core.archive.packs.loose_copies import sweep_copies
from core.archive.records.record import MAX_RECORD_BYTES
from core.database import Database
from core.errors import ServiceError
from core.logging import log_errors_only
from core.owners.view import EVERYTHING
from core.settings import DatabaseSettings, PackSettings
from core.storage import Storage, open_storage
from core.storage.keys import FOLDERS, PACKS, RECORDS, fan_out, record_key
from core.storage.local import LocalStorage
from core.storage.mirrored import Copies
from migrations.upgrade import upgrade
from models.base import new_id, utc_now
from models.image import Image, ImageState
from models.pack_member import PackMember
from models.pending_deletion import PendingDeletion
from models.stored_object import ObjectKind, StoredObject

_LOT = 1000
_SAMPLE = 2000
"""Reads of each kind whose times are compared."""

_BYTES = (300, 6000)
"""Of streams and records."""

_SMALL = PackSettings(size_bytes=60_000, age=timedelta(0), dead_share=0.05, dead_age=timedelta(0))
_WHOLE = PackSettings(age=timedelta(0))

Row = tuple[str, str]


def main() -> None:
    """Measure what was asked for, print it, and fail where something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.packs", description=__doc__)
    parser.add_argument("--streams", type=int, default=0)
    parser.add_argument("--bare", action="store_true", help="streams without records")
    parser.add_argument("--swift", action="store_true", help="reads on the S3 server of the tests")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    log_errors_only()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="misc-packs-") as folder:
        if arguments.streams:
            rows += measure_folder(Path(folder) / "folder", arguments.streams, bare=arguments.bare)
        if arguments.swift:
            rows += measure_swift(Path(folder) / "swift")
        if arguments.kills:
            rows += measure_kills(Path(folder) / "kills", arguments.kills, arguments.seed)
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        print(f"{name:{width}}  {value}")
    if any(name.startswith("WRONG") for name, _ in rows):
        sys.exit("bench.packs: something was lost, doubled or changed")


def measure_folder(folder: Path, streams: int, *, bare: bool) -> list[Row]:
    """Fill, read, pack, read everything: on SQLite and a folder."""
    database, storage = _open(folder)
    began = time.perf_counter()
    keys = list(_fill(database, storage, streams, folder, bare=bare))
    filled = time.perf_counter()
    sample = random.Random(1).sample(keys, min(_SAMPLE, len(keys)))
    packing = time.perf_counter()
    copies = Copies(storage)
    made: list[packer.Packed] = []
    while (pack := packer.pack_loose(database, copies, _WHOLE, fills=False)) is not None:
        made.append(pack)
    packed = time.perf_counter()
    deleted = sweep_copies(database, storage)
    swept = time.perf_counter()
    exact = _count_exact(database, storage, keys)
    read = time.perf_counter()
    files = sum(1 for key in FOLDERS for _ in storage.list(key))
    loose = list(_fill(database, storage, len(sample), folder, bare=True, seed=8))
    rows = [
        ("streams", f"{streams}{'' if bare else ' and their records'}, filled in {filled - began:.0f} s"),
        ("packs", f"{len(made)} of {sum(pack.size_bytes for pack in made):,} bytes, made in {packed - packing:.0f} s"),
        ("objects deleted", f"{deleted} in {swept - packed:.0f} s; {files} objects are left"),
        ("read back exact", f"{exact} of {len(keys)} in {read - swept:.0f} s"),
        *_compared("folder", database, storage, loose, sample),
    ]
    if exact != len(keys) or files != len(made):
        rows.append(("WRONG", "not everything was read back, or loose objects were left"))
    database.close()
    return rows


def measure_swift(folder: Path) -> list[Row]:
    """The times of reads on the S3 server of the tests, which is OpenStack Swift."""
    from tests.s3_server.fixture import new_bucket, settings_for
    from tests.s3_server.process import S3Server

    server = S3Server()
    try:
        database, _ = _open(folder)
        storage = open_storage(settings_for(server, new_bucket(server)))
        keys = list(_fill(database, storage, 500))
        packer.pack_loose(database, Copies(storage), _WHOLE, fills=False)
        sweep_copies(database, storage)
        exact = _count_exact(database, storage, keys)
        rows = [("read back exact, Swift", f"{exact} of {len(keys)}")]
        if exact != len(keys):
            rows.append(("WRONG", "not everything was read back from Swift"))
        rows += _compared("Swift", database, storage, list(_fill(database, storage, 500, seed=8)), keys)
        database.close()
        storage.close()
    finally:
        server.close()
    return rows


def measure_kills(folder: Path, kills: int, seed: int) -> list[Row]:
    """Kill a process that packs so many times, and look after each."""
    database, storage = _open(folder)
    contents = {key: places.get(database, storage, key, MAX_RECORD_BYTES) for key in _fill(database, storage, 200)}
    database.close()
    draw = random.Random(seed)
    context = multiprocessing.get_context("fork")
    wrong: list[str] = []
    seen: Counter[str] = Counter()
    for number in range(kills):
        process = context.Process(target=_work, args=(folder, draw.randrange(2**32)), daemon=True)
        process.start()
        time.sleep(draw.uniform(0.1, 3.0))
        process.kill()
        process.join()
        database, storage = _open(folder)
        wrong += [f"kill {number}: {fault}" for fault in _faults(database, storage, contents, seen)]
        database.close()
    database, storage = _open(folder)
    wrong += _left_behind(database, storage)
    with database.read() as session:
        left = len(_wanted(session))
    database.close()
    return [
        ("kills", f"{kills} with kill -9, seed {seed}"),
        ("between storing and committing a pack", f"{seen['uncommitted']} kills"),
        ("between committing and deleting", f"{seen['copies']} kills"),
        ("packs made, rewritten and taken apart", f"{seen['packs']} different ones were seen"),
        ("left at the end", f"{left} of {len(contents)} streams and records, the others were deleted"),
        ("lost, doubled or changed", str(len(wrong))),
        *(("WRONG", fault) for fault in wrong[:20]),
    ]


def _open(folder: Path) -> tuple[Database, LocalStorage]:
    folder.mkdir(parents=True, exist_ok=True)
    settings = DatabaseSettings(url=f"sqlite:///{folder}/misc.db")
    if not (folder / "misc.db").exists():
        upgrade(settings)
    return Database(settings), LocalStorage(folder / "objects")


def _fill(
    database: Database, storage: Storage, streams: int, folder: Path | None = None, *, bare: bool = False, seed: int = 7
) -> Iterator[str]:
    """Images of made-up streams, each with its record unless `bare`, old enough; yields their keys. A `folder` is not
    waited for."""
    draw = random.Random(seed)
    with ThreadPoolExecutor(8) as pool:
        for start in range(0, streams, _LOT):
            images_of_lot, objects = [], []
            for _ in range(min(_LOT, streams - start)):
                stream, record = (draw.randbytes(draw.randint(*_BYTES)) for _ in range(2))
                stream_entry, record_entry = _entry(stream), _entry(record, RECORDS)
                images_of_lot.append(_image(stream_entry, None if bare else record_entry))
                objects += [(stream_entry, stream)] + ([] if bare else [(record_entry, record)])
            list(pool.map(lambda new: _put(storage, new[0], new[1], folder), objects))
            with database.write() as session:
                session.execute(insert(Image), images_of_lot)
                inventory.enter(session, [entry for entry, _ in objects])
                ago = utc_now() - timedelta(hours=2)
                session.execute(update(StoredObject).where(StoredObject.created_at > ago).values(created_at=ago))
            yield from (entry.key for entry, _ in objects)


def _entry(data: bytes, folder: str = "") -> Entry:
    sha256 = hashlib.sha256(data).hexdigest()
    if folder == RECORDS:
        return Entry(record_key(sha256), sha256, len(data))
    return bitstreams.entry_of(sha256, len(data))


def _put(storage: Storage, entry: Entry, data: bytes, folder: Path | None) -> None:
    if folder is None:
        storage.put(entry.key, data, content_type=media_type_of(entry.key), sha256=entry.sha256)
        return
    kind, _, name = entry.key.partition("/")
    path = folder / "objects" / kind / fan_out(entry.key) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _image(stream: Entry, record: Entry | None) -> dict[str, object]:
    return {
        "id": new_id("img"), "owner": "default", "name": f"{stream.sha256[:8]}.png", "state": ImageState.READY,
        "width": 640, "height": 480, "media_type": "image/png", "options": {}, "keep_original": False,
        "bitstream_sha256": stream.sha256, "bitstream_bytes": stream.size_bytes,
        "record_sha256": record and record.sha256,
    }  # fmt: skip


def _compared(
    where: str, database: Database, storage: Storage, loose: Sequence[str], packed: Sequence[str]
) -> list[Row]:
    """Verified reads, of loose objects and of packs in turn, so that both meet the same machine."""
    seconds: dict[str, list[float]] = {"loose": [], "packed": []}
    for both in zip(loose, packed, strict=False):
        for name, key in zip(seconds, both, strict=True):
            began = time.perf_counter()
            places.get(database, storage, key, MAX_RECORD_BYTES)
            seconds[name].append(time.perf_counter() - began)
    rows = []
    for name, times in seconds.items():
        p50, p95 = statistics.median(times), statistics.quantiles(times, n=20)[-1]
        rows.append((f"read, {where}, {name}", f"p50 {p50 * 1000:.2f} ms, p95 {p95 * 1000:.2f} ms of {len(times)}"))
    ratio = statistics.median(seconds["packed"]) / statistics.median(seconds["loose"])
    rows.append((f"read, {where}, p50 packed to loose", f"{ratio:.2f}"))
    return rows


def _count_exact(database: Database, storage: Storage, keys: Sequence[str]) -> int:
    """How many are read back: each is verified, as by every caller."""

    def _is_exact(key: str) -> bool:
        try:
            data = places.get(database, storage, key, MAX_RECORD_BYTES)
        except ServiceError:
            return False
        return hashlib.sha256(data).hexdigest() in key

    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(_is_exact, keys))


def _work(folder: Path, seed: int) -> None:
    """Pack, delete, rewrite and unpack until the process is killed."""
    draw = random.Random(seed)
    database, storage = _open(folder)
    copies = Copies(storage)
    while True:
        acts: list[Callable[[], object]] = [
            lambda: packer.pack_loose(database, copies, _SMALL, fills=False),
            lambda: sweep_copies(database, storage),
            lambda: packer.rewrite(database, copies, _SMALL),
            lambda: deletions.sweep(database, storage),
            lambda: _unpack_one(database, copies, draw),
            lambda: _delete_one(database, storage, draw),
        ]
        draw.choices(acts, (6, 3, 2, 1, 1, 1))[0]()


def _unpack_one(database: Database, copies: Copies, draw: random.Random) -> None:
    with database.read() as session:
        packs = members.packs(session)
    if len(packs) > 2:
        packer.unpack(database, copies, draw.choice(packs).key)


def _delete_one(database: Database, storage: Storage, draw: random.Random) -> None:
    with database.write() as session:
        ids = session.scalars(select(Image.id)).all()
        images.delete_image(session, draw.choice(ids), EVERYTHING)
        # As if the hour was over in which somebody might be about to refer to it.
        session.execute(update(PendingDeletion).where(PendingDeletion.blocked_until.is_(None)).values(due_at=utc_now()))


def _wanted(session: Session) -> set[str]:
    rows = session.execute(select(Image.bitstream_sha256, Image.record_sha256))
    return {
        key for stream, record in rows for key in (bitstreams.entry_of(stream or "", 0).key, record_key(record or ""))
    }


def _faults(database: Database, storage: Storage, contents: dict[str, bytes], seen: Counter[str]) -> Iterator[str]:
    """What an image needs and cannot be read exactly, or lies twice in the database."""
    with database.read() as session:
        wanted = _wanted(session)
        living = session.scalars(select(PackMember.key).where(PackMember.deleted_at.is_(None))).all()
        catalogue = set(session.scalars(select(StoredObject.key)))
        pending = set(session.scalars(select(PendingDeletion.key)))
    for key in sorted(wanted):
        try:
            if places.get(database, storage, key, MAX_RECORD_BYTES) != contents[key]:
                yield f"{key} has other bytes"
        except ServiceError as error:
            yield f"{key} cannot be read: {error}"
    yield from (f"{key} lives {times} times" for key, times in Counter(living).items() if times > 1)
    yield from (f"{key} is packed and loose" for key in catalogue & set(living))
    yield from (f"{key} is nowhere in the database" for key in wanted - catalogue - set(living))
    packs = {info.key for info in storage.list(PACKS)}
    seen["uncommitted"] += bool(packs - catalogue)
    seen["copies"] += bool(pending & set(living))
    seen["packs"] = max(seen["packs"], len(packs))


def _left_behind(database: Database, storage: Storage) -> Iterator[str]:
    """What is in storage and should not be, or the other way round, once all is swept some hours later."""
    packer.drop_empty(database)
    for _ in count():
        sweep_copies(database, storage)
        deletions.sweep(database, storage, now=utc_now() + timedelta(hours=5))
        with database.read() as session:
            if session.scalar(select(PendingDeletion.key).limit(1)) is None:
                break
    packer.drop_empty(database)
    deletions.sweep(database, storage, now=utc_now() + timedelta(hours=5))
    with database.read() as session:
        catalogue = set(session.scalars(select(StoredObject.key)))
        living = set(session.scalars(select(PackMember.key).where(PackMember.deleted_at.is_(None))))
        loose = set(session.scalars(select(StoredObject.key).where(StoredObject.kind != ObjectKind.PACK)))
        wanted = _wanted(session)
    stored = {info.key for folder in FOLDERS for info in storage.list(folder)}
    yield from (f"{key} is in storage, and nothing knows it" for key in sorted(stored - catalogue))
    yield from (f"{key} is in the catalogue, and not in storage" for key in sorted(catalogue - stored))
    yield from (f"{key} was deleted and is there" for key in sorted((loose | living) - wanted))


if __name__ == "__main__":
    main()
