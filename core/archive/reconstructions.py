"""Reconstructions: pictures decoded on request, kept as a cache. Every function works in the caller's transaction."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Self

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from codec.options import DecodeOptions
from codec.seed import sample_seed, seed_of
from core.archive import network_sets, object_lifecycle
from core.database import Database
from core.errors import NotFound, NotReady, ServiceError
from core.jobs import queries, transitions
from core.jobs.job import JobSpec
from core.logging import get_logger
from core.owners.view import View
from models.base import utc_now
from models.image import Image, ImageState
from models.job import Job
from models.reconstruction import Reconstruction, ReconstructionState

_log = get_logger(__name__)

_USE_NOTED = timedelta(hours=1)
"""How exactly it is known when a reconstruction was last used."""


@dataclass(frozen=True)
class NewReconstruction:
    """What is ordered: the options of the decode, and the file that the picture becomes."""

    options: DecodeOptions
    format: str

    @property
    def digest(self) -> str:
        """SHA-256 that equal orders share."""
        values = self.options.choices() | {"format": self.format}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def sample(self, image: Image, index: int) -> Self:
        """The order of another seed: the first is the order itself, and seeds go on from its own or the stream's."""
        if index == 0 or image.bitstream_sha256 is None:
            return self
        first = self.options.seed if self.options.seed is not None else seed_of(image.bitstream_sha256)
        return replace(self, options=self.options.model_copy(update={"seed": sample_seed(first, index)}))


def submit(session: Session, image: Image, new: NewReconstruction, job: JobSpec) -> tuple[Reconstruction, str, bool]:
    """Find or order a reconstruction; returns it, the id of its job, and whether the job is new.

    Raises NotReady while the image has no stream. The same options and networks give the same picture, so one that is
    ready or on its way is not ordered again; one that other networks made than restore now is. It belongs to the
    image's owner, whoever orders it.
    """
    if image.state != ImageState.READY:
        raise NotReady(f"Image {image.id} is {image.state}; wait for its encode job to succeed.")
    digest = new.digest
    same = session.execute(
        select(Reconstruction, Job.id)
        .join(Job, Job.reconstruction_id == Reconstruction.id)
        .where(
            Reconstruction.image_id == image.id,
            Reconstruction.options_sha256 == digest,
            Reconstruction.state.in_((ReconstructionState.PENDING, ReconstructionState.READY)),
        )
        .order_by(Job.id.desc())
        .limit(1)
    ).one_or_none()
    if same is not None and (
        same[0].state == ReconstructionState.PENDING or network_sets.is_current(session, new.options, same[0].weights)
    ):
        if same[0].state == ReconstructionState.READY:
            same[0].last_used_at = utc_now()
        return same[0], same[1], False
    row = Reconstruction(
        owner=image.owner,
        image_id=image.id,
        # Workers of the version before read orders that ask for nothing of this one.
        options=new.options.choices(),
        options_sha256=digest,
        format=new.format,
        width=image.width,
        height=image.height,
    )
    session.add(row)
    session.flush()
    job = replace(job, owner=image.owner, image_id=image.id, reconstruction_id=row.id)
    return row, transitions.create(session, job), True


def get(session: Session, reconstruction_id: str, view: View) -> Reconstruction:
    """The reconstruction; raises NotFound."""
    row = session.get(Reconstruction, reconstruction_id)
    if row is None or not view.has(row):
        raise NotFound(f"There is no reconstruction {reconstruction_id!r}.")
    return row


def note_use(database: Database, row: Reconstruction) -> None:
    """Note that it was fetched or ordered, once an hour: a cache that is read often writes seldom.

    Raises nothing for a database that cannot be written to: the picture is there all the same.
    """
    if row.last_used_at is not None and row.last_used_at > utc_now() - _USE_NOTED:
        return
    statement = update(Reconstruction).where(Reconstruction.id == row.id).values(last_used_at=utc_now())
    try:
        database.execute_alone(statement)
    except ServiceError as error:
        _log.warning("use_not_noted", reconstruction_id=row.id, code=error.code)


def remove(session: Session, reconstruction_id: str, view: View) -> None:
    """Delete a reconstruction and cancel its job; its picture is swept later, unless another one has it.

    Raises NotFound.
    """
    get(session, reconstruction_id, view)
    # Locks are taken in one order everywhere: jobs, then what they make, then pending deletions.
    for job_id in queries.open_ids(session, reconstruction_id=reconstruction_id):
        transitions.cancel(session, job_id)
    row = session.get(Reconstruction, reconstruction_id, with_for_update=True)
    if row is None:
        raise NotFound(f"There is no reconstruction {reconstruction_id!r}.")
    if row.object_key is not None:
        object_lifecycle.drop(session, row.object_key, shared=True)
    transitions.delete_of_reconstruction(session, reconstruction_id)
    session.expunge(row)
    session.execute(delete(Reconstruction).where(Reconstruction.id == reconstruction_id))


def latest_of_image(session: Session, image_id: str, limit: int) -> Sequence[Reconstruction]:
    """The reconstructions of an image, newest first."""
    query = select(Reconstruction).where(Reconstruction.image_id == image_id)
    return session.scalars(query.order_by(Reconstruction.id.desc()).limit(limit)).all()


def write_off(session: Session, reconstruction_id: str) -> None:
    """Mark a reconstruction failed whose picture is lost from storage, so that it can be ordered again."""
    row = session.get(Reconstruction, reconstruction_id, with_for_update=True)
    if row is not None and row.state == ReconstructionState.READY and row.object_key is not None:
        object_lifecycle.drop(session, row.object_key, shared=True)
        row.state, row.object_key = ReconstructionState.FAILED, None
        session.flush()
