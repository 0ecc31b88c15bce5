"""A decode job hears of its cancellation at its next step, on both databases, whoever else is late to hear of it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import pytest
from PIL import Image

from codec.bitstream import PixelCoarse, Stream
from codec.bitstream.container import pack
from codec.decode.pipeline import decode
from codec.decode_price import DecodeLimits
from codec.errors import Cancelled, DecodeTooCostly
from codec.options import DecodeOptions, RestorerName, Schedule
from codec.picture.credentials import Signer
from codec.picture.mark import read_mark
from core.database import Database
from core.errors import LeaseLost
from core.events import EventLog
from core.jobs import transitions
from core.jobs.job import JobSpec
from core.jobs.lease import LeasedJob, LeaseKeeper
from core.settings import BrokerSettings
from core.storage.local import LocalStorage
from models.base import new_id
from models.image import Image as ImageRow
from models.image import ImageState
from models.job import JobKind
from models.reconstruction import Reconstruction
from tests.certificates import archive_under, authority, written
from tests.claims import claim_job
from workers.context import WorkContext
from workers.decode.task import DecodeTask
from workers.occupancy import Occupancy

DATA = pack(Stream(64, 48, PixelCoarse(4, 3, 3, bytes(range(12)) * 3))).data


@pytest.fixture
def context(database: Database, broker_settings: BrokerSettings, tmp_path: Path) -> Iterator[WorkContext]:
    """Of a running job whose lease nobody renews, so that news comes by no other way."""
    with database.write() as session:
        job_id = transitions.create(session, JobSpec(JobKind.PROBE, "decode"))
    claim = claim_job(database, job_id, "tester:1", timedelta(seconds=30))
    assert claim is not None
    events = EventLog(broker_settings)
    keeper = LeaseKeeper(database, timedelta(seconds=15))
    occupancy = Occupancy(keeper)
    yield WorkContext(keeper.hold(claim), database, LocalStorage(tmp_path / "objects"), events, occupancy)
    events.close()


class Slow:
    """Paints a grey picture in a hundred steps, and has somebody cancel the job in the seventh."""

    name = "slow"
    generative = False
    weights: ClassVar[dict[str, str]] = {}
    steps_done, steps_total = 0, 100
    is_done = False
    failure = None

    def __init__(self, context: WorkContext) -> None:
        self._context = context
        self.seconds: dict[str, float] = {}

    def begin(self, _request: object) -> "Slow":
        return self

    def step(self, _states: object) -> None:
        self.steps_done += 1
        if self.steps_done == 7:
            with self._context.database.write() as session:
                transitions.cancel(session, self._context.claim.job_id)

    def preview(self) -> Image.Image:
        return Image.new("RGB", (64, 48), "grey")

    def finish(self, _state: object) -> Image.Image:
        return self.preview()


def test_cancelled_decode_takes_no_further_step(context: WorkContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.context._CHECK_SECONDS", 0.0)
    slow = Slow(context)

    with pytest.raises(Cancelled):
        decode(DATA, DecodeOptions(), restorer=slow, cancelled=context.check_cancelled)

    assert slow.steps_done == 7
    assert context.cancelled(), "from now on nobody has to ask"


def test_job_that_was_taken_back_is_not_gone_on_with(context: WorkContext, monkeypatch: pytest.MonkeyPatch) -> None:
    # A hundred steps that do nothing may all be over before the database would be asked a second time.
    monkeypatch.setattr("workers.context._CHECK_SECONDS", 0.0)
    assert not context.check_cancelled()
    with context.database.write() as session:
        transitions.requeue(session, context.claim, delay=timedelta(0), code=None, message=None, count_attempt=True)
    slow = Slow(context)

    with pytest.raises(LeaseLost):
        decode(DATA, DecodeOptions(), restorer=slow, cancelled=context.check_cancelled)


def test_order_that_a_wider_api_took_is_refused_before_its_stream_is_fetched(context: WorkContext) -> None:
    options = DecodeOptions(restorer=RestorerName.DIFFUSION, schedule=Schedule.STAGED, steps=200, res=2048)
    with context.database.write() as session:
        image = ImageRow(name="a", state=ImageState.READY, width=96, height=72, media_type="image/png", options={})
        image.id, image.bitstream_sha256 = new_id("img"), "0" * 64
        session.add(image)
        session.flush()
        row = Reconstruction(
            image_id=image.id, options=options.model_dump(mode="json"), options_sha256="0" * 64, format="png"
        )
        session.add(row)
        session.flush()
        claim = replace(context.claim, reconstruction_id=row.id)
    ordered = WorkContext(LeasedJob(claim), context.database, context.storage, context._events, context._occupancy)
    with pytest.raises(DecodeTooCostly, match="megapixels"):
        DecodeTask.load(ordered, DecodeLimits(pixels=10**8, evaluated_pixels=10**8))


@pytest.mark.parametrize("is_signed", [False, True])
def test_reconstruction_of_a_job_is_signed_where_the_archive_has_a_certificate(
    context: WorkContext, tmp_path: Path, is_signed: bool
) -> None:
    above = authority()
    signer = Signer.load(*written(tmp_path, archive_under(above), above)) if is_signed else None
    options = DecodeOptions(restorer=RestorerName.SMOOTH)
    decoded = decode(DATA, options)
    task = DecodeTask(context, "rec_unused", "webp", options, 64 * 48, DATA, None)
    stored = task.store(decoded, signer)
    mark = read_mark(context.storage.get(stored.key, max_bytes=1 << 20), above.pem)
    assert (mark["stream_sha256"], mark["restorer"]) == (decoded.stream_sha256, "smooth")
    assert (mark["signature"] or {}).get("state") == ("trusted" if is_signed else None)
