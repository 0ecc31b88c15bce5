"""How a batch looks over HTTP."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from api.jobs.schemas import error_to_out
from api.root_path import address
from codec.options import EncodeOptions
from codec.strict_json import StrictModel
from core.archive.batch_report import Report
from core.archive.batches import BatchCounts
from models.base import JSONObject
from models.batch import Batch
from models.batch_rejection import BatchRejection
from models.image import Image, ImageState
from models.job import Job, JobState

MAX_NAME_CHARS = 255

MAX_EXPECTED = 10_000_000
"""Larger than any group that one service could take in within a day."""


_DEFAULTS = EncodeOptions().model_dump(mode="json")


class NewBatch(StrictModel):
    """The JSON body that makes a batch without pictures, to be filled by uploads that name it."""

    name: str | None = Field(None, max_length=MAX_NAME_CHARS)
    expected: int | None = Field(
        None,
        ge=0,
        le=MAX_EXPECTED,
        description="How many pictures will come. The batch is not done before, and its progress does not go back.",
    )


class BatchChange(StrictModel):
    """The JSON body that changes a batch."""

    expected: int | None = Field(
        ge=0, le=MAX_EXPECTED, description="How many pictures it will have in the end; null for as many as come."
    )


class BatchLinks(BaseModel):
    """Where to go on."""

    self: str
    images: str
    jobs: str
    cancel: str
    events: str
    report: str
    manifest: str


class BatchOut(BaseModel):
    """A batch. Its counts are read off its jobs, so they cannot disagree with them."""

    id: str = Field(examples=["bat_01kb2c9q0r5w3v7x1y8z4t6n2m"])
    owner: str = Field(description="Whose it is.", examples=["default"])
    name: str | None
    created_at: datetime
    total: int = Field(description="Jobs of its pictures.")
    expected: int | None = Field(description="How many pictures were announced; null where none were.")
    rejections: int = Field(description="Pictures that were sent and could not be taken.")
    counts: dict[JobState, int]
    progress: float = Field(ge=0, le=1, description="Of what was announced, else of what came.")
    is_done: bool = Field(
        description="Whether every job has ended, in whatever way, and no announced picture is missing."
    )
    links: BatchLinks


class BatchPage(BaseModel):
    """Batches, newest first."""

    items: list[BatchOut]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last.")


class BatchMember(BaseModel):
    """A picture that was taken into a batch."""

    name: str
    image_id: str
    job_id: str


class RejectedFile(BaseModel):
    """A file that was not taken, and why."""

    name: str
    code: str = Field(examples=["picture_truncated"])
    message: str


class SubmittedBatch(BatchOut):
    """A batch with what was taken and what was not."""

    images: list[BatchMember]
    rejected: list[RejectedFile]


class CancelledBatch(BatchOut):
    """A batch after its jobs were cancelled."""

    cancelled: int = Field(description="Jobs that ended at once.")
    stopping: int = Field(description="Jobs that run and end at their next step.")


class FailureOut(BaseModel):
    """Pictures that came to nothing for one reason."""

    code: str = Field(examples=["picture_truncated"])
    count: int
    names: list[str] = Field(description="The first few, with their folders; the manifest has all.")


class QualityReport(BaseModel):
    """How good pictures came back, by one metric."""

    count: int = Field(description="Pictures that were verified and have this figure.")
    mean: float
    worst: float


class BatchReport(BaseModel):
    """What became of a batch. Bytes, pixels and bits per pixel are those of the pictures that are ready."""

    batch: BatchOut
    images: dict[ImageState, int]
    missing: int = Field(description="Announced pictures that have not come.")
    original_bytes: int
    bitstream_bytes: int
    pixels: int
    bpp: float | None = Field(description="Bits of all streams by pixels of all originals; null while none is ready.")
    least_bpp: float | None
    most_bpp: float | None
    quality: dict[str, QualityReport] = Field(
        description="By metric; of the pictures whose upload asked to `verify`, so empty where none did."
    )
    failures: list[FailureOut] = Field(description="Failed and rejected pictures by reason, most frequent first.")
    seconds: float | None = Field(description="From the batch's beginning to its last end; null until it is done.")


class ManifestError(BaseModel):
    """Why a picture came to nothing."""

    code: str | None
    message: str | None


class ManifestLine(BaseModel):
    """One picture of a batch, a line of its manifest."""

    name: str = Field(description="With its folders.", examples=["2024/may/harbour.jpg"])
    image_id: str | None = Field(description="Null for one that could not be taken.")
    state: ImageState | Literal["rejected"]
    sha256: str | None = Field(description="Of the stream; null until it is there.")
    bytes: int | None = Field(description="Of the stream.")
    bpp: float | None
    quality: dict[str, float] | None = Field(description="Figures by metric; null unless the upload asked to `verify`.")
    original_sha256: str | None
    options: JSONObject = Field(description="Those of the upload that are not at their default.")
    notes: list[str]
    error: ManifestError | None


def report_to_out(batch: Batch, report: Report) -> BatchReport:
    """The report as it looks over HTTP."""
    return BatchReport(
        batch=to_out(batch, report.counts),
        images=report.images,
        missing=report.counts.missing,
        original_bytes=report.original_bytes,
        bitstream_bytes=report.bitstream_bytes,
        pixels=report.pixels,
        bpp=report.bpp,
        least_bpp=report.least_bpp,
        most_bpp=report.most_bpp,
        quality={
            metric: QualityReport(count=one.count, mean=one.mean, worst=one.worst)
            for metric, one in report.quality.items()
        },
        failures=[FailureOut(code=one.code, count=one.count, names=list(one.names)) for one in report.failures],
        seconds=None if report.ended_at is None else (report.ended_at - batch.created_at).total_seconds(),
    )


def image_line(image: Image, job: Job | None) -> ManifestLine:
    """The line of a picture that was taken; `job` is the one that failed."""
    error = None if job is None else error_to_out(job)
    return ManifestLine(
        name=image.path,
        image_id=image.id,
        state=image.state,
        sha256=image.bitstream_sha256,
        bytes=image.bitstream_bytes,
        bpp=image.bpp,
        quality=None if image.quality is None else image.quality["figures"],
        original_sha256=image.original_sha256,
        options=_chosen(image),
        notes=image.notes or [],
        error=None if error is None else ManifestError(code=error.code, message=error.message),
    )


def _chosen(image: Image) -> JSONObject:
    chosen = {name: value for name, value in image.options.items() if value != _DEFAULTS.get(name)}
    kept = {"keep_original": image.keep_original, "keep_metadata": image.kept_metadata is not None}
    return chosen | {name: True for name, is_kept in kept.items() if is_kept}


def rejection_line(rejection: BatchRejection) -> ManifestLine:
    """The line of a picture that was not taken."""
    return ManifestLine(
        name=rejection.name,
        image_id=None,
        state="rejected",
        sha256=None,
        bytes=None,
        bpp=None,
        quality=None,
        original_sha256=None,
        options={},
        notes=[],
        error=ManifestError(code=rejection.code, message=rejection.message),
    )


def to_out(batch: Batch, counts: BatchCounts) -> BatchOut:
    """The batch as it looks over HTTP."""
    own = address(f"/v1/batches/{batch.id}")
    return BatchOut(
        id=batch.id,
        owner=batch.owner,
        name=batch.name,
        created_at=batch.created_at,
        total=counts.total,
        expected=counts.expected,
        rejections=counts.rejected,
        counts=dict(counts.by_state),
        progress=min(max(counts.progress, 0.0), 1.0),
        is_done=counts.is_done,
        links=BatchLinks(
            self=own,
            images=address(f"/v1/images?batch_id={batch.id}"),
            jobs=address(f"/v1/jobs?batch_id={batch.id}"),
            cancel=f"{own}/cancel",
            events=f"{own}/events",
            report=f"{own}/report",
            manifest=f"{own}/manifest",
        ),
    )
