"""Deletes what is older than it has to be kept. Streams are never deleted here, nor what is still to be made."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Select, exists, func, select
from sqlalchemy.orm import Session

from core.archive import object_lifecycle, reconstructions
from core.archive.records import outdate
from core.background import Periodic
from core.broker import Broker
from core.clock import database_now
from core.database import Database
from core.errors import NotFound
from core.jobs import queries, transitions
from core.logging import get_logger
from core.owners.view import EVERYTHING
from core.settings import RetentionSettings
from models.base import new_id
from models.image import Image, ImageState
from models.job import Job
from models.reconstruction import Reconstruction, ReconstructionState

_log = get_logger(__name__)

_PASS_SECONDS = 60.0
_BATCH = 200
"""Rows of a kind in one pass: as many as a minute's worth of a busy service, and few enough to hold nobody up."""


class Retention:
    """One thread a process, of which one process at a time does the work."""

    def __init__(self, database: Database, broker: Broker, settings: RetentionSettings) -> None:
        self._database, self._broker, self._settings = database, broker, settings
        self._holder = new_id("ret")
        self._thread = Periodic("retention", _PASS_SECONDS, self._lead_pass)

    def start(self) -> None:
        """Begin, where anything is to be deleted at all."""
        settings = self._settings
        if any((settings.reconstructions, settings.reconstructions_bytes, settings.jobs, settings.originals)):
            self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._thread.close()

    def make_pass(self) -> dict[str, int]:
        """Delete up to 200 things of each kind that are too old; returns how many of each."""
        settings, database = self._settings, self._database
        kinds: tuple[tuple[str, timedelta, Callable[[Database, timedelta], int]], ...] = (
            ("reconstructions", settings.reconstructions, delete_reconstructions),
            ("jobs", settings.jobs, delete_jobs),
            ("originals", settings.originals, delete_originals),
        )
        deleted = {name: forget(database, age) for name, age, forget in kinds if age}
        if settings.reconstructions_bytes:
            deleted["evicted"] = evict_reconstructions(database, settings.reconstructions_bytes)
        if any(deleted.values()):
            _log.info("retention_enforced", **deleted)
        return deleted

    def _lead_pass(self) -> None:
        if self._broker.acquire_leadership("retention", self._holder, _PASS_SECONDS * 2.5):
            self.make_pass()


def delete_reconstructions(database: Database, age: timedelta) -> int:
    """Delete reconstructions that were ordered so long ago and are not being made; returns how many."""
    query = select(Reconstruction.id).where(
        Reconstruction.created_at < database_now(-age), Reconstruction.state != ReconstructionState.PENDING
    )
    return _each(database, _found(database, query.order_by(Reconstruction.id)), _remove_reconstruction)


def evict_reconstructions(database: Database, most_bytes: int) -> int:
    """Delete the reconstructions that were used least recently until the others have at most so many bytes, up to 200;
    returns how many. Those that are being made stay, and so does a picture for whoever is fetching it."""
    ready = Reconstruction.state == ReconstructionState.READY
    oldest = select(Reconstruction.id, Reconstruction.size_bytes).where(ready)
    oldest = oldest.order_by(Reconstruction.last_used_at.asc().nulls_first(), Reconstruction.id).limit(_BATCH)
    with database.read() as session:
        excess = (session.scalar(select(func.sum(Reconstruction.size_bytes)).where(ready)) or 0) - most_bytes
        sizes = list(session.execute(oldest)) if excess > 0 else []
    evicted = []
    for reconstruction_id, size_bytes in sizes:
        if excess <= 0:
            break
        evicted.append(reconstruction_id)
        excess -= size_bytes or 0
    return _each(database, evicted, _remove_reconstruction)


def delete_jobs(database: Database, age: timedelta) -> int:
    """Forget jobs that ended so long ago; returns how many. Those of a batch are what its counts are made of, and that
    of a reconstruction is how the same order is known, so both stay."""
    query = select(Job.id).where(
        Job.finished_at < database_now(-age),
        Job.state.in_(queries.ENDED),
        Job.batch_id.is_(None),
        ~exists().where(Reconstruction.id == Job.reconstruction_id),
    )
    with database.read() as session:
        ids = list(session.scalars(query.order_by(Job.id).limit(_BATCH)))
    if ids:
        with database.write() as session:
            transitions.delete_ended(session, ids)
    return len(ids)


def delete_originals(database: Database, age: timedelta) -> int:
    """Delete kept originals of images that came in so long ago and have their stream; returns how many."""
    query = select(Image.id).where(
        Image.created_at < database_now(-age), Image.original_key.is_not(None), Image.state == ImageState.READY
    )
    return _each(database, _found(database, query.order_by(Image.id)), _drop_original)


def _remove_reconstruction(session: Session, reconstruction_id: str) -> None:
    reconstructions.remove(session, reconstruction_id, EVERYTHING)


def _drop_original(session: Session, image_id: str) -> None:
    image = session.get(Image, image_id, with_for_update={"of": Image})
    if image is not None and image.original_key is not None and image.state == ImageState.READY:
        object_lifecycle.drop(session, image.original_key, shared=False)
        image.original_key = None
        outdate(session, image)


def _found(database: Database, query: Select[Any]) -> list[str]:
    """The first ids that the query finds."""
    with database.read() as session:
        return list(session.scalars(query.limit(_BATCH)))


def _each(database: Database, ids: Sequence[str], forget: Callable[[Session, str], None]) -> int:
    """Delete each in a transaction of its own."""
    for one in ids:
        try:
            with database.write() as session:
                forget(session, one)
        except NotFound:
            continue  # somebody else was faster
    return len(ids)
