"""How an image looks over HTTP, and the options of an upload."""

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from pydantic import BaseModel, Field

from api.jobs.schemas import Deadline, JobOut, UsageOut, usage_to_out
from api.root_path import address
from codec.bitstream import CoarseKind
from codec.options import EncodeOptions
from codec.strict_json import Instant
from models.base import JSONObject
from models.description import DescriptionRecord
from models.image import Image, ImageState
from models.job import JobPriority
from models.reconstruction import Reconstruction, ReconstructionState

MAX_REFERENCE_BPP = 100
"""The codec's own bound for what a reference may be declared to have cost."""


_OF_THE_UPLOAD = ("modified_at", "priority", "deadline")
"""Options that make no other picture."""


class SharedOptions(EncodeOptions):
    """Options that all pictures of a batch may have alike."""

    later_fields: ClassVar[frozenset[str]] = EncodeOptions.later_fields | {"keep_metadata"}

    keep_original: bool = Field(False, description="Keep the original after its stream was verified.")
    keep_metadata: bool = Field(
        False, description="Keep when and where the picture was taken, as its EXIF says, and `modified_at`."
    )
    priority: JobPriority | None = Field(
        None,
        description="How urgent the job is; by default bulk for a picture of a batch, else interactive. Every fourth "
        "job that a worker begins is bulk, where both kinds wait.",
    )
    deadline: Deadline | None = Field(
        None,
        description="When the stream is wanted: of jobs of one priority the one with the earliest deadline goes first.",
    )


class SubmitOptions(SharedOptions):
    """The form field `options` of an upload."""

    modified_at: Instant | None = Field(
        None, description="When the picture's file was last changed, for `keep_metadata`."
    )
    batch_id: str | None = Field(None, description="Make the picture part of this batch.")
    reference_bpp: float | None = Field(
        None,
        gt=0,
        le=MAX_REFERENCE_BPP,
        description="What an outside codec spent on the form's file `reference`, in bits per pixel.",
    )

    def choices(self) -> JSONObject:
        """What the upload says of the picture. A file that was only touched since is the same one, however urgent."""
        return {name: value for name, value in super().choices().items() if name not in _OF_THE_UPLOAD}

    def priority_of_job(self, *, in_batch: bool) -> JobPriority:
        """That of the job which encodes the picture."""
        return self.priority or (JobPriority.BULK if in_batch else JobPriority.INTERACTIVE)

    def encode_options(self) -> EncodeOptions:
        """The part that the codec knows."""
        return EncodeOptions.model_validate(self.model_dump(include=set(EncodeOptions.model_fields)))


class BitsOut(BaseModel):
    """Where the bits of the file went; the four add up to eight times its bytes."""

    container: int
    text: int
    maps: int
    coarse: int


class ItemOut(BaseModel):
    """One thing in the picture. The name serves search and is not part of the stream."""

    name: str
    detail: str


class DescriptionOut(BaseModel):
    """What describes the picture, and who described it."""

    describer: str = Field(examples=["local"])
    items: list[ItemOut]
    overall: str


class OriginalOut(BaseModel):
    """What was handed in."""

    bytes: int
    sha256: str
    is_kept: bool = Field(description="Whether it can be fetched now.")


class MetadataOut(BaseModel):
    """When and where a picture was taken; null for what its file does not say."""

    taken_at: str | None = Field(
        description="ISO 8601, with an offset where the camera noted one.", examples=["2026-05-03T10:20:30+02:00"]
    )
    latitude: float | None = Field(description="Degrees north.")
    longitude: float | None = Field(description="Degrees east.")
    altitude_m: float | None = Field(description="Metres above the sea.")
    modified_at: datetime | None = Field(description="When its file was last changed, as the upload said.")


class MinimumOut(BaseModel):
    """What was asked for: of a distance (`lpips-alex`, `sqz-dist`) at most this, of the others at least."""

    metric: str = Field(examples=["ms-ssim-rgb"])
    figure: float


class TryOut(BaseModel):
    """One encode of the picture."""

    bpp: float
    figure: float | None = Field(description="Of the minimum's metric.")


class QualityOut(BaseModel):
    """How good the picture came back when it was decoded at once; `docs/evaluation.md` says what the figures are."""

    figures: dict[str, float] = Field(
        description="By metric, those that can be measured there and are defined for the picture.",
        examples=[{"psnr-rgb": 24.1, "ms-ssim-rgb": 0.83}],
    )
    restorer: str = Field(examples=["gan"])
    weights: dict[str, str] = Field(description="SHA-256 of the networks that had a part in it.")
    minimum: MinimumOut | None
    is_met: bool | None = Field(description="False: the original is kept. Null where there is no minimum.")
    tries: list[TryOut] = Field(description="Of each rate that was tried; the last is the stream that is kept.")


class ReconstructionSummary(BaseModel):
    """A reconstruction of the image, in brief."""

    id: str
    state: ReconstructionState
    format: str
    created_at: datetime


class ImageLinks(BaseModel):
    """Where to go on; null for what is not there (yet)."""

    self: str
    bitstream: str | None
    original: str | None
    reconstructions: str
    jobs: str
    batch: str | None


class ImageOut(BaseModel):
    """An image in the archive. What the encode finds out is null until the state is `ready`."""

    id: str = Field(examples=["img_01kb2c9q0r5w3v7x1y8z4t6n2m"])
    owner: str = Field(description="Whose it is.", examples=["default"])
    name: str = Field(examples=["harbour.jpg"])
    folder: str | None = Field(description="Where it lay in what was handed in.", examples=["2024/may"])
    state: ImageState
    batch_id: str | None
    created_at: datetime
    width: int
    height: int
    media_type: str = Field(description="Of what was handed in.")
    original: OriginalOut | None
    keep_original: bool
    metadata: MetadataOut | None = Field(description="Null unless the upload asked to keep it.")
    options: JSONObject = Field(description="The options of the upload, with the defaults.")
    bitstream_bytes: int | None
    bitstream_sha256: str | None
    bpp: float | None = Field(description="Bits of the file per pixel of the original.")
    bits: BitsOut | None
    mode: str | None = Field(description="pixel, net or ref.")
    profile: str | None
    external: bool = Field(description="Whether decoding needs a reference picture that is stored with the stream.")
    declared_bits: int | None = Field(
        description="What an outside codec says it spent on that reference, with the file's own bits for all else."
    )
    bpp_declared: float | None = Field(description="The same per pixel.")
    description: DescriptionOut | None
    maps: list[list[str]] | None = Field(description="For each item its rows of 0 and 1.")
    seconds: dict[str, float] | None = Field(description="What the stages of the encode took.")
    notes: list[str]
    quality: QualityOut | None = Field(description="Null unless the upload asked to `verify`.")
    usage: UsageOut | None = Field(description="What a language model's description cost; null without one.")
    job: JobOut | None = Field(description="The latest job of this image.")
    links: ImageLinks


class ImageDetail(ImageOut):
    """An image with its latest reconstructions."""

    reconstructions: list[ReconstructionSummary]


class ImagePage(BaseModel):
    """Images, newest first."""

    items: list[ImageOut]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last.")


class SimilarImage(BaseModel):
    """An image that looks like another one."""

    distance: int = Field(description="Bits of 64 in which the perceptual hashes differ: 0 to 3.")
    image: ImageOut


class SimilarImages(BaseModel):
    """Images that look like one, nearest first."""

    perceptual_hash: str | None = Field(
        description="Of the original, in hexadecimal; null where the image was taken in as a stream or has none yet.",
        examples=["e5b27c9d1f603a48"],
    )
    items: list[SimilarImage]


class SubmittedImage(BaseModel):
    """A picture that was taken, and the job that encodes it."""

    image: ImageOut
    job: JobOut


def to_out(image: Image, job: JobOut | None = None) -> ImageOut:
    """The image as it looks over HTTP; `job` is its latest."""
    own = address(f"/v1/images/{image.id}")
    original = None
    if image.original_bytes is not None and image.original_sha256 is not None:
        original = OriginalOut(
            bytes=image.original_bytes, sha256=image.original_sha256, is_kept=image.original_key is not None
        )
    is_external = image.mode == CoarseKind.EXTERNAL
    declared = None
    if is_external and image.declared_bits is not None and image.bits is not None and image.bitstream_bytes is not None:
        # The file's coarse section only names the reference; what the reference cost stands in its place.
        declared = image.declared_bits + 8 * image.bitstream_bytes - int(image.bits["coarse"])
    return ImageOut(
        id=image.id,
        owner=image.owner,
        name=image.name,
        folder=image.folder,
        state=image.state,
        batch_id=image.batch_id,
        created_at=image.created_at,
        width=image.width,
        height=image.height,
        media_type=image.media_type,
        original=original,
        keep_original=image.keep_original,
        metadata=MetadataOut.model_validate(image.kept_metadata) if image.kept_metadata is not None else None,
        options=image.options,
        bitstream_bytes=image.bitstream_bytes,
        bitstream_sha256=image.bitstream_sha256,
        bpp=image.bpp,
        bits=BitsOut.model_validate(image.bits) if image.bits is not None else None,
        mode=CoarseKind.REF.value if is_external else image.mode,
        profile=image.profile,
        external=is_external,
        declared_bits=declared,
        bpp_declared=None if declared is None else declared / (image.width * image.height),
        description=_description_to_out(image.description),
        maps=image.maps,
        seconds=image.seconds,
        notes=image.notes or [],
        quality=None if image.quality is None else QualityOut.model_validate(image.quality),
        usage=usage_to_out(image.usage),
        job=job,
        links=ImageLinks(
            self=own,
            bitstream=f"{own}/bitstream" if image.bitstream_sha256 is not None else None,
            original=f"{own}/original" if image.original_key is not None else None,
            reconstructions=f"{own}/reconstructions",
            jobs=address(f"/v1/jobs?image_id={image.id}"),
            batch=image.batch_id and address(f"/v1/batches/{image.batch_id}"),
        ),
    )


def reconstructions_to_out(rows: Sequence[Reconstruction]) -> list[ReconstructionSummary]:
    """The reconstructions of an image, in brief."""
    return [
        ReconstructionSummary(id=row.id, state=row.state, format=row.format, created_at=row.created_at) for row in rows
    ]


def _description_to_out(record: DescriptionRecord | None) -> DescriptionOut | None:
    if record is None:
        return None
    content = record.content
    items = [ItemOut(name=item.get("name", ""), detail=item.get("detail", "")) for item in content.get("items", [])]
    return DescriptionOut(describer=record.describer, items=items, overall=content.get("overall", ""))
