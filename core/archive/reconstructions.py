"""Reconstructions: pictures painted again on request, kept as a cache."""

import hashlib
import json

from sqlalchemy import select
from sqlalchemy.orm import Session

from codec.options import DecodeOptions
from core.broker import DECODE
from core.errors import NotFound, NotReady
from core.jobs import transitions
from core.jobs.job import JobSpec
from models.image import Image, ImageState
from models.job import Job, JobKind
from models.reconstruction import Reconstruction, ReconstructionState


def submit(
    session: Session,
    image: Image,
    options: DecodeOptions,
    *,
    picture_format: str,
    max_attempts: int,
    request_id: str | None = None,
) -> tuple[Reconstruction, str, bool]:
    """Find or order a reconstruction; returns it, the id of its job, and whether the job is new.

    Raises NotReady while the image has no stream. The same options give the same picture, so one that is ready or
    on its way is not ordered again.
    """
    if image.state != ImageState.READY:
        raise NotReady(f"Image {image.id} is {image.state}; wait for its encode job to succeed.")
    values = options.model_dump(mode="json") | {"format": picture_format}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
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
    if same is not None:
        return same[0], same[1], False
    reconstruction = Reconstruction(
        image_id=image.id,
        options=options.model_dump(mode="json"),
        options_sha256=digest,
        format=picture_format,
        width=image.width,
        height=image.height,
    )
    session.add(reconstruction)
    session.flush()
    spec = JobSpec(
        JobKind.DECODE,
        DECODE,
        image_id=image.id,
        reconstruction_id=reconstruction.id,
        request_id=request_id,
        max_attempts=max_attempts,
    )
    return reconstruction, transitions.create(session, spec), True


def get(session: Session, reconstruction_id: str) -> Reconstruction:
    """The reconstruction; raises NotFound."""
    reconstruction = session.get(Reconstruction, reconstruction_id)
    if reconstruction is None:
        raise NotFound(f"There is no reconstruction {reconstruction_id!r}.")
    return reconstruction
