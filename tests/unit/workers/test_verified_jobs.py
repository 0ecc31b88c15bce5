"""Encode jobs that decode at once: what they keep of it, and that an original goes with its stream's record only."""

import hashlib
import io
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codec.bitstream import Stream, pack, unpack
from codec.decode_price import DecodeLimits
from codec.encode.pipeline import Encoded
from codec.errors import DecodeTooCostly
from codec.metrics.ingest import Quality
from codec.options import EncodeOptions, parse_options
from codec.weights.store import WeightsStore
from core.archive import deletions, images, object_lifecycle
from core.archive.images import NewImage
from core.archive.object_lifecycle import NewObject
from core.database import Database
from core.jobs import claims, transitions
from core.jobs.job import Claim, JobSpec
from core.jobs.lease import LeaseKeeper
from core.picture_reader import DirectPictureReader
from core.settings import DatabaseSettings, LMMSettings, WorkerSettings
from core.storage.keys import original_key
from core.storage.local import LocalStorage
from models.base import new_id, utc_now
from models.image import Image as ImageRow
from models.image import ImageState
from models.job import JobKind
from tests.claims import claim_job
from tests.unit.workers.silent import Silent
from workers.context import Record, WorkContext
from workers.encode.handler import EncodeHandler
from workers.encode.resources import EncodeResources
from workers.occupancy import Occupancy

UNUSED: Any = None
LEASE = timedelta(seconds=300)


class Coders:
    """Packs in this process."""

    def pack(self, stream: Stream, _cancelled: Callable[[], bool]) -> Any:
        return pack(stream)

    def unpack(self, data: bytes, _cancelled: Callable[[], bool]) -> Stream:
        return unpack(data).stream


class Meter:
    """Finds every picture to come back with the same figure."""

    def check(self, _options: EncodeOptions) -> None: ...

    def measure(self, _original: Image.Image, _encoded: Encoded, _cancelled: Callable[[], bool]) -> Quality:
        return Quality({"psnr-rgb": 24.5}, restorer="gan", weights={"stage1": "ab" * 32}, seconds=2.0)


@pytest.fixture
def database(migrated_file: Path, tmp_path: Path) -> Iterator[Database]:
    (tmp_path / "misc.db").write_bytes(migrated_file.read_bytes())
    database = Database(DatabaseSettings(url=f"sqlite:///{tmp_path}/misc.db"))
    yield database
    database.close()


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "objects")


@pytest.fixture
def resources(database: Database, tmp_path: Path) -> EncodeResources:
    resources: Any = EncodeResources(
        database, UNUSED, LMMSettings(), WorkerSettings(), WeightsStore(tmp_path / "weights"), UNUSED
    )
    resources.coders, resources.pictures, resources.meter = Coders(), DirectPictureReader(), Meter()
    return resources  # type: ignore[no-any-return]


def photo(seed: int = 0) -> bytes:
    """A picture of 6x6 colours that looks like no other seed's."""
    colours = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(colours).resize((48, 48), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def submit(database: Database, storage: LocalStorage, data: bytes, owner: str = "default", **options: Any) -> str:
    """Hand in a picture; returns the id of its job."""
    image_id, sha256 = new_id("img"), hashlib.sha256(data).hexdigest()
    original = NewObject(original_key(sha256, "png"), sha256, len(data))
    object_lifecycle.store(database, storage, original, data)
    parsed = parse_options(EncodeOptions, {"mode": "pixel", "describe": "none"} | options)
    new = NewImage(image_id, f"{image_id}.png", 48, 48, "image/png", original, parsed)
    with database.write() as session:
        return images.submit(session, new, JobSpec(JobKind.ENCODE, "encode", owner=owner))[1]


def work(database: Database, storage: LocalStorage, resources: EncodeResources, job_id: str) -> tuple[Claim, Record]:
    """All of an attempt but its record."""
    claim = claim_job(database, job_id, "tester:1", LEASE)
    assert claim is not None
    keeper = LeaseKeeper(database, LEASE)
    events: Any = Silent()
    context = WorkContext(keeper.hold(claim), database, storage, events, Occupancy(keeper))
    return claim, EncodeHandler(resources)(context)


def image_of(database: Database, claim: Claim) -> ImageRow:
    with database.read() as session:
        image = session.get(ImageRow, claim.image_id)
    assert image is not None
    return image


def run(database: Database, storage: LocalStorage, resources: EncodeResources, job_id: str) -> ImageRow:
    claim, record = work(database, storage, resources, job_id)
    with database.write() as session:
        claims.lock(session, claim)
        transitions.succeed(session, claim, record(session))
    return image_of(database, claim)


def test_quality_is_kept_with_the_image_and_the_original_goes(
    database: Database, storage: LocalStorage, resources: EncodeResources
) -> None:
    image = run(database, storage, resources, submit(database, storage, photo(), verify=True))
    assert image.state == ImageState.READY and image.quality is not None
    assert image.quality["figures"] == {"psnr-rgb": 24.5}
    assert (image.quality["restorer"], image.quality["minimum"], image.quality["is_met"]) == ("gan", None, None)
    assert image.seconds is not None and image.seconds["verify"] == 2.0
    assert image.original_key is None and not image.keep_original and not image.notes
    unverified = run(database, storage, resources, submit(database, storage, photo(99)))
    assert unverified.quality is None and "verify" not in (unverified.seconds or {})


def test_original_stays_where_the_picture_comes_back_worse_than_asked(
    database: Database, storage: LocalStorage, resources: EncodeResources
) -> None:
    for least, is_met in ((24, True), (25, False)):
        job_id = submit(database, storage, photo(least), verify_at_least=f"psnr-rgb={least}")
        image = run(database, storage, resources, job_id)
        assert image.quality is not None and image.quality["is_met"] is is_met
        assert image.keep_original is not is_met and (image.original_key is None) is is_met
    assert image.original_key is not None and storage.get(image.original_key, max_bytes=1 << 20) == photo(25)
    first, second = image.notes or []
    assert first.startswith("It does not come back with psnr-rgb of at least 25") and second.startswith(
        "The original is"
    )


def test_decode_that_is_too_costly_is_refused_before_anything_is_encoded(
    database: Database, storage: LocalStorage, resources: EncodeResources
) -> None:
    resources.decode_limits = DecodeLimits(pixels=1000, evaluated_pixels=1000)
    with pytest.raises(DecodeTooCostly):
        work(database, storage, resources, submit(database, storage, photo(), verify=True))


def test_worker_killed_between_stream_and_record_leaves_the_original_for_the_next_attempt(
    database: Database, storage: LocalStorage, resources: EncodeResources
) -> None:
    job_id = submit(database, storage, photo())
    claim, _ = work(database, storage, resources, job_id)
    # The stream is stored and nothing was recorded: here the worker dies.
    image = image_of(database, claim)
    assert image.state == ImageState.PENDING and image.original_key is not None
    assert deletions.sweep(database, storage, now=utc_now() + timedelta(hours=2)) == 1
    assert storage.get(image.original_key, max_bytes=1 << 20) == photo()
    with database.write() as session:
        transitions.requeue(session, claim, count_attempt=False)
    done = run(database, storage, resources, job_id)
    assert done.state == ImageState.READY and done.original_key is None


def test_note_names_the_same_file_and_what_looks_like_it_among_the_owners_own(
    database: Database, storage: LocalStorage, resources: EncodeResources, tmp_path: Path
) -> None:
    first = run(database, storage, resources, submit(database, storage, photo()))
    assert not first.notes and first.perceptual_hash is not None
    again = run(database, storage, resources, submit(database, storage, photo()))
    assert again.notes == [f"It is the very same file as {first.name} ({first.id})."]
    assert again.bitstream_sha256 == first.bitstream_sha256, "its stream is stored once"
    file = io.BytesIO()
    Image.open(io.BytesIO(photo())).resize((40, 40)).save(file, "PNG")
    smaller = run(database, storage, resources, submit(database, storage, file.getvalue()))
    assert len(smaller.notes or []) == 1 and (smaller.notes or [""])[0].startswith("It looks like ")
    assert run(database, storage, resources, submit(database, storage, photo(), owner="alice")).notes == []
    assert len(list((tmp_path / "objects" / "bitstreams").rglob("*.misc"))) == 2
