"""Whether damage is found, never served and repaired: `python -m bench.flips --images 1000 --flips 500`.

Fills an archive with a mirror, changes one byte in each of so many objects, asks the interface for all of them, has the
scrubber go through the archive, and compares every byte with what was stored. With `--packed` streams and records lie
in packs, and headers, members, indexes and trailers are hit in turn. Prints one JSON document.
"""

import argparse
import hashlib
import json
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import select, update

from bench.rebuild import fill, open_client
from core.archive import fixity, rebuild
from core.archive.fixity import Outcome
from core.archive.packs import pack_file, packer
from core.archive.packs.loose_copies import sweep_copies
from core.archive.packs.pack_file import Member
from core.archive.records.writer import write_missing
from core.archive.scrubber import Scrubber
from core.database import Database
from core.logging import log_errors_only
from core.settings import DatabaseSettings, FixitySettings, MirrorPolicy, PackSettings, StorageSettings
from core.storage import Storage, open_storage
from core.storage.local import LocalStorage
from core.storage.mirrored import Copies
from migrations.upgrade import upgrade
from models.base import utc_now
from models.image import Image
from models.stored_object import StoredObject

_PARTS = ("header", "members", "index", "trailer")
_SMALL_PACKS = PackSettings(size_bytes=20_000, age=timedelta(0))
_UNHURRIED = FixitySettings(objects_per_second=1e6, bytes_per_second=1e12)


@dataclass(frozen=True)
class Figures:
    """What was measured."""

    objects: int
    flips: int
    by_folder: dict[str, int]
    served_damaged: int
    """Damaged objects that the interface sent, or a rebuild believed."""
    refused: int
    found: int
    restored: int
    different_afterwards: int
    served_afterwards: int
    scrub_seconds: float

    @property
    def is_good(self) -> bool:
        """Whether everything is as it has to be."""
        return (
            self.served_damaged == self.different_afterwards == 0
            and self.flips == self.refused == self.found == self.restored == self.served_afterwards
        )


@dataclass(frozen=True)
class PackFigures:
    """What was measured of packs."""

    packs: int
    members: int
    flips: int
    by_part: dict[str, int]
    members_hit: int
    served_damaged: int
    """Of the members that were hit."""
    refused: int
    others_served: int
    """Another member of each pack that was hit."""
    found: int
    restored: int
    different_afterwards: int
    scrub_seconds: float

    @property
    def is_good(self) -> bool:
        """Whether everything is as it has to be."""
        return (
            self.served_damaged == self.different_afterwards == 0
            and self.members_hit == self.refused
            and self.flips == self.found == self.restored == self.others_served
        )


def main() -> None:
    """Fill, flip, ask, scrub, compare, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.flips", description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--flips", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--packed", action="store_true", help="change bytes of packs")
    arguments = parser.parse_args()
    log_errors_only()
    measured = measure_packed if arguments.packed else measure
    figures: Figures | PackFigures
    with tempfile.TemporaryDirectory(prefix="misc-flips-") as folder:
        settings = DatabaseSettings(url=f"sqlite:///{folder}/misc.db")
        figures = measured(settings, Path(folder), arguments.images, arguments.flips, arguments.seed)
    print(json.dumps(asdict(figures), indent=2))
    if not figures.is_good:
        sys.exit("bench.flips: damage was missed, served or not repaired")


def measure(settings: DatabaseSettings, folder: Path, images: int, flips: int, seed: int) -> Figures:
    """Everything, on an empty database and an empty folder."""
    upgrade(settings)
    database = Database(settings)
    storage = open_storage(StorageSettings(path=folder / "objects"))
    copies = Copies(storage, open_storage(StorageSettings(path=folder / "mirror")), MirrorPolicy.BEHIND)
    fill(database, storage, images)
    while write_missing(database, storage):
        pass
    _scrub(database, copies)
    stored = {path: path.read_bytes() for path in (folder / "objects").rglob("*.*") if path.is_file()}
    draw = random.Random(seed)
    flipped = draw.sample(sorted(stored), flips)
    for path in flipped:
        _flip(draw, path)
    with open_client(settings, folder / "objects") as client:
        first = Counter(_ask(client, database, storage, path) for path in flipped)
        started = time.perf_counter()
        outcomes = _scrub(database, copies)
        seconds = time.perf_counter() - started
        again = Counter(_ask(client, database, storage, path) for path in flipped)
    database.close()
    return Figures(
        objects=len(stored),
        flips=flips,
        by_folder=dict(Counter(path.parts[-3] for path in flipped)),
        served_damaged=first[True],
        refused=first[False],
        found=outcomes[Outcome.RESTORED] + outcomes[Outcome.DAMAGED] + outcomes[Outcome.MENDED],
        restored=outcomes[Outcome.RESTORED],
        different_afterwards=sum(path.read_bytes() != data for path, data in stored.items()),
        served_afterwards=again[True],
        scrub_seconds=seconds,
    )


def measure_packed(settings: DatabaseSettings, folder: Path, images: int, flips: int, seed: int) -> PackFigures:
    """The same with packs: one byte in each of them, as often as it takes."""
    upgrade(settings)
    database = Database(settings)
    storage = LocalStorage(folder / "objects")
    copies = Copies(storage, open_storage(StorageSettings(path=folder / "mirror")), MirrorPolicy.BEHIND)
    fill(database, storage, images)
    while write_missing(database, storage):
        pass
    while packer.pack_loose(database, copies, _SMALL_PACKS, fills=False):
        pass
    sweep_copies(database, copies.as_one())
    packs = {path: path.read_bytes() for path in (folder / "objects").rglob("*.pack")}
    indexes = {path: pack_file.read_index(storage, f"packs/{path.name}") for path in packs}
    draw = random.Random(seed)
    counts: Counter[str] = Counter()
    seconds = 0.0
    with open_client(settings, folder / "objects") as client:
        while counts["flips"] < flips:
            lot = draw.sample(sorted(packs), min(len(packs), flips - counts["flips"]))
            for path in lot:
                part = _PARTS[counts["flips"] % len(_PARTS)]
                hit = _flip_in_pack(draw, path, indexes[path], part)
                counts.update(["flips", part])
                other = draw.choice([member for member in indexes[path] if member is not hit])
                counts["others"] += _is_served(client, database, storage, other.key)
                if hit is not None:
                    counts[str(_is_served(client, database, storage, hit.key))] += 1
            started = time.perf_counter()
            outcomes = _scrub(database, copies)
            seconds += time.perf_counter() - started
            counts["restored"] += outcomes[Outcome.RESTORED]
            counts["found"] += sum(outcomes[one] for one in (Outcome.RESTORED, Outcome.DAMAGED, Outcome.MENDED))
            counts["different"] += sum(path.read_bytes() != data for path, data in packs.items())
    database.close()
    return PackFigures(
        packs=len(packs),
        members=sum(map(len, indexes.values())),
        flips=counts["flips"],
        by_part={part: counts[part] for part in _PARTS},
        members_hit=counts["True"] + counts["False"],
        served_damaged=counts["True"],
        refused=counts["False"],
        others_served=counts["others"],
        found=counts["found"],
        restored=counts["restored"],
        different_afterwards=counts["different"],
        scrub_seconds=seconds,
    )


def _flip_in_pack(draw: random.Random, path: Path, index: list[Member], part: str) -> Member | None:
    """Change a byte in this part of a pack; returns the member that has it."""
    data = bytearray(path.read_bytes())
    first, end, last = index[0].offset, index[-1].offset + index[-1].size_bytes, len(data) - pack_file.TRAILER_BYTES
    ranges = {"header": (0, first), "members": (first, end), "index": (end, last), "trailer": (last, len(data))}
    position = draw.randrange(*ranges[part])
    data[position] ^= draw.randrange(1, 256)
    path.write_bytes(data)
    hit = [member for member in index if member.offset <= position < member.offset + member.size_bytes]
    return hit[0] if hit else None


def _is_served(client: TestClient, database: Database, storage: Storage, key: str) -> bool:
    """Whether the bytes of a stream or record are given to anybody."""
    return _ask(client, database, storage, Path(f"{key.partition('/')[0]}/00/{key.partition('/')[2]}"))


def _flip(draw: random.Random, path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= draw.randrange(1, 256)
    path.write_bytes(data)


def _scrub(database: Database, copies: Copies) -> Counter[Outcome]:
    """Have the scrubber read everything, a month later."""
    ago = utc_now() - timedelta(days=31)
    with database.write() as session:
        session.execute(update(StoredObject).values(created_at=ago, last_verified_at=ago))
    unused: Any = None
    scrubber = Scrubber(database, unused, copies, _UNHURRIED)
    outcomes: Counter[Outcome] = Counter()
    while more := scrubber.make_pass():
        outcomes += more
    with database.read() as session:
        assert fixity.standing(session).damaged == 0
    return outcomes


def _ask(client: TestClient, database: Database, storage: Storage, path: Path) -> bool:
    """Whether the bytes of an object are given to anybody: a caller, or a rebuild for a record."""
    folder = path.parts[-3]
    if folder == "records":
        return not isinstance(rebuild.read_record(database, storage, f"records/{path.name}"), str)
    is_stream = folder == "bitstreams"
    is_named = Image.bitstream_sha256 == path.stem if is_stream else Image.original_key == f"originals/{path.name}"
    with database.read() as session:
        image_id = session.scalar(select(Image.id).where(is_named).limit(1))
    route = "bitstream" if is_stream else "original"
    answer = client.get(f"/v1/images/{image_id}/{route}")
    if answer.status_code == 200 and route == "bitstream":
        # What is given has to be what it is called.
        assert hashlib.sha256(answer.content).hexdigest() == path.stem
    return answer.status_code == 200


if __name__ == "__main__":
    main()
