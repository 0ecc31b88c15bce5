"""What is deleted when it has been kept for long enough, and what never is."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from core.archive.retention import Retention
from core.database import Database
from core.settings import RetentionSettings
from models.base import Base, new_id, utc_now
from models.batch import Batch
from models.image import Image, ImageState
from models.job import Job, JobState
from models.pending_deletion import PendingDeletion
from models.reconstruction import Reconstruction, ReconstructionState
from tests.unit.api.samples import submit

MONTH = timedelta(days=30)
OLD = utc_now() - timedelta(days=31)
YOUNG = utc_now() - timedelta(days=29)


def retention_of(database: Database, **ages: timedelta) -> Retention:
    unused: Any = None
    return Retention(database, unused, RetentionSettings(**ages))  # type: ignore[arg-type]


def add(database: Database, row: Base) -> str:
    with database.write() as session:
        session.add(row)
        session.flush()
        return str(row.id)  # type: ignore[attr-defined]


def ids(database: Database, kind: Any) -> set[str]:
    with database.read() as session:
        return set(session.scalars(select(kind.id)))


@pytest.fixture
def image_id(client: TestClient) -> str:
    return str(submit(client, keep_original=True)["image"]["id"])


@pytest.fixture
def reconstruction(database: Database, image_id: str) -> Callable[..., str]:
    def _add(**values: Any) -> str:
        defaults = {"image_id": image_id, "options": {}, "options_sha256": "0" * 64, "format": "png"}
        return add(database, Reconstruction(**(defaults | values)))

    return _add


def test_old_reconstructions_go_and_those_that_are_being_made_stay(
    database: Database, reconstruction: Callable[..., str]
) -> None:
    ready = ReconstructionState.READY
    old = reconstruction(created_at=OLD, state=ready, object_key=f"reconstructions/{'a' * 64}.png")
    young, pending = reconstruction(created_at=YOUNG, state=ready), reconstruction(created_at=OLD)
    assert retention_of(database, reconstructions=MONTH).make_pass() == {"reconstructions": 1}
    assert ids(database, Reconstruction) == {young, pending}
    with database.read() as session:
        assert session.scalars(select(PendingDeletion.key)).all().count(f"reconstructions/{'a' * 64}.png") == 1
    assert old not in ids(database, Reconstruction)


def test_ended_jobs_go_unless_a_batch_or_a_reconstruction_needs_them(
    database: Database, reconstruction: Callable[..., str]
) -> None:
    def _job(**values: Any) -> str:
        defaults = {"kind": "probe", "queue": "encode", "state": JobState.SUCCEEDED, "finished_at": OLD}
        return add(database, Job(**(defaults | values)))

    batch_id = add(database, Batch(id=new_id("bat"), name=None))
    waiting = ids(database, Job)
    gone = {_job(), _job(state=JobState.FAILED, error_code="option_invalid")}
    kept = {
        _job(finished_at=YOUNG),
        _job(state=JobState.RUNNING, finished_at=None),
        _job(batch_id=batch_id),
        _job(reconstruction_id=reconstruction(state=ReconstructionState.READY)),
    }
    assert retention_of(database, jobs=MONTH).make_pass() == {"jobs": 2}
    assert ids(database, Job) == kept | waiting
    assert not gone & ids(database, Job)


def test_original_goes_when_its_stream_is_there_and_the_image_stays(database: Database, image_id: str) -> None:
    originals = retention_of(database, originals=MONTH)
    for state, created_at, deleted in (
        (ImageState.FAILED, OLD, 0),
        (ImageState.READY, YOUNG, 0),
        (ImageState.READY, OLD, 1),
        (ImageState.READY, OLD, 0),
    ):
        with database.write() as session:
            session.execute(update(Image).where(Image.id == image_id).values(state=state, created_at=created_at))
        assert originals.make_pass() == {"originals": deleted}
    with database.read() as session:
        image = session.get(Image, image_id)
        assert image is not None and image.original_key is None


def test_everything_is_kept_by_default(database: Database, reconstruction: Callable[..., str]) -> None:
    reconstruction(created_at=OLD - 100 * MONTH, state=ReconstructionState.READY)
    assert retention_of(database).make_pass() == {}


def test_least_recently_used_reconstructions_go_beyond_the_limit(
    database: Database, reconstruction: Callable[..., str]
) -> None:
    ready = ReconstructionState.READY
    hours = [utc_now() - timedelta(hours=hour) for hour in range(5)]
    unknown = reconstruction(state=ready, size_bytes=100)
    with database.write() as session:
        # As a worker of an earlier version makes it.
        session.execute(update(Reconstruction).where(Reconstruction.id == unknown).values(last_used_at=None))
    old, new, newest = (
        reconstruction(state=ready, size_bytes=size, last_used_at=hours[hour], created_at=hours[4 - hour])
        for size, hour in ((300, 4), (200, 1), (100, 0))
    )
    pending = reconstruction(size_bytes=None, last_used_at=OLD)
    for most, evicted, left in (
        (700, 0, {unknown, old, new, newest, pending}),
        (600, 1, {old, new, newest, pending}),
        (599, 1, {new, newest, pending}),
        (100, 1, {newest, pending}),
        (100, 0, {newest, pending}),
    ):
        retention: Any = Retention(database, None, RetentionSettings(reconstructions_bytes=most))  # type: ignore[arg-type]
        assert retention.make_pass() == {"evicted": evicted}
        assert ids(database, Reconstruction) == left
