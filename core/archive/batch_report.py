"""What became of a batch: figures of the whole, and a line for each picture. Reads only."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import fmean

from sqlalchemy import Float, cast, func, select
from sqlalchemy.orm import Session, lazyload

from codec.quality import METRICS
from core.archive import batches
from core.archive.batches import BatchCounts
from core.jobs import queries
from models.batch_rejection import BatchRejection
from models.image import Image, ImageState
from models.job import Job, JobState

_PAGE = 1_000
"""Rows that are in memory at a time."""

_NAMED = 3
"""Pictures that are named for each reason of failure; the manifest has all."""


@dataclass(frozen=True)
class Failures:
    """Pictures that came to nothing for one reason; `names` has the first few, with their folders."""

    code: str
    count: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class Quality:
    """How good the pictures came back that were verified, by one metric."""

    count: int
    mean: float
    worst: float


@dataclass(frozen=True)
class Report:
    """`images` counts by state. Bytes, pixels and bits per pixel are those of the ready ones."""

    counts: BatchCounts
    images: dict[ImageState, int]
    original_bytes: int
    bitstream_bytes: int
    pixels: int
    least_bpp: float | None
    most_bpp: float | None
    quality: dict[str, Quality]
    failures: tuple[Failures, ...]
    ended_at: datetime | None

    @property
    def bpp(self) -> float | None:
        """Bits of all streams by pixels of all originals."""
        return self.bitstream_bytes * 8 / self.pixels if self.pixels else None


@dataclass(frozen=True)
class ManifestPage:
    """Images with the job of each that failed, then pictures that were not taken; `next_after` goes on."""

    images: Sequence[Image] = ()
    jobs: dict[str, Job] = field(default_factory=dict)
    rejections: Sequence[BatchRejection] = ()
    next_after: str | None = None


def report(session: Session, batch_id: str) -> Report:
    """The figures of a batch as it is now."""
    of_batch = Image.batch_id == batch_id
    states = session.execute(select(Image.state, func.count()).where(of_batch).group_by(Image.state))
    bpp = cast(Image.bitstream_bytes, Float) * 8 / (Image.width * Image.height)
    sums = session.execute(
        select(
            func.sum(Image.original_bytes),
            func.sum(Image.bitstream_bytes),
            func.sum(Image.width * Image.height),
            func.min(bpp),
            func.max(bpp),
        ).where(of_batch, Image.state == ImageState.READY)
    ).one()
    original_bytes, bitstream_bytes, pixels, least, most = sums
    counts = batches.count(session, batch_id)
    ended_at = session.scalar(select(func.max(Job.finished_at)).where(Job.batch_id == batch_id))
    return Report(
        counts=counts,
        images=dict.fromkeys(ImageState, 0) | dict(states.all()),
        original_bytes=int(original_bytes or 0),
        bitstream_bytes=int(bitstream_bytes or 0),
        pixels=int(pixels or 0),
        least_bpp=None if least is None else float(least),
        most_bpp=None if most is None else float(most),
        quality=_quality(session, batch_id),
        failures=(*_failed(session, batch_id), *_rejected(session, batch_id)),
        ended_at=ended_at if counts.is_done else None,
    )


def manifest_page(session: Session, batch_id: str, after: str, limit: int) -> ManifestPage:
    """So many pictures of a batch: those taken, in the order in which they came, then those that were not.

    `after` is the `next_after` of the page before, empty for the first.
    """
    if not after.startswith(_REJECTED):
        query = select(Image).where(Image.batch_id == batch_id, Image.id > after).order_by(Image.id).limit(limit)
        images = list(session.scalars(query.options(lazyload(Image.description))))
        failed = [image.id for image in images if image.state == ImageState.FAILED]
        jobs = queries.latest_by_image(session, failed) if failed else {}
        return ManifestPage(images, jobs, next_after=images[-1].id if len(images) == limit else _REJECTED)
    rejected = select(BatchRejection).where(
        BatchRejection.batch_id == batch_id, BatchRejection.name_sha256 > after.removeprefix(_REJECTED)
    )
    rows = list(session.scalars(rejected.order_by(BatchRejection.name_sha256).limit(limit)))
    return ManifestPage(
        rejections=rows, next_after=f"{_REJECTED}{rows[-1].name_sha256}" if len(rows) == limit else None
    )


_REJECTED = "rejected:"
"""Begins the marks of a manifest's second part."""


def _quality(session: Session, batch_id: str) -> dict[str, Quality]:
    query = select(Image.quality).where(Image.batch_id == batch_id, Image.quality.is_not(None))
    figures: dict[str, list[float]] = defaultdict(list)
    for kept in session.scalars(query.execution_options(yield_per=_PAGE)):
        for metric, figure in (kept or {}).get("figures", {}).items():
            figures[metric].append(figure)
    return {
        metric: Quality(len(each), fmean(each), max(each) if METRICS.get(metric) else min(each))
        for metric, each in sorted(figures.items())
    }


def _failed(session: Session, batch_id: str) -> list[Failures]:
    is_failed = (Job.batch_id == batch_id, Job.state == JobState.FAILED)
    codes = session.execute(select(Job.error_code, func.count()).where(*is_failed).group_by(Job.error_code)).all()
    failures = []
    for code, count in codes:
        first = select(Image).join(Job, Job.image_id == Image.id).where(*is_failed, Job.error_code == code)
        rows = session.scalars(first.order_by(Image.id).limit(_NAMED).options(lazyload(Image.description)))
        failures.append(Failures(code or "", count, tuple(image.path for image in rows)))
    return sorted(failures, key=lambda one: -one.count)


def _rejected(session: Session, batch_id: str) -> list[Failures]:
    of_batch = BatchRejection.batch_id == batch_id
    codes = session.execute(select(BatchRejection.code, func.count()).where(of_batch).group_by(BatchRejection.code))
    failures = []
    for code, count in codes.all():
        first = select(BatchRejection.name).where(of_batch, BatchRejection.code == code)
        names = session.scalars(first.order_by(BatchRejection.name).limit(_NAMED))
        failures.append(Failures(code, count, tuple(names)))
    return sorted(failures, key=lambda one: -one.count)
