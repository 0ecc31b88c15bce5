"""How a reconstruction looks over HTTP, and the options of an order."""

from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Self

from pydantic import BaseModel, Field, model_validator

from api.jobs.schemas import Deadline, JobOut
from api.root_path import address
from codec.options import DecodeOptions, RestorerName
from models.base import JSONObject
from models.job import JobPriority
from models.reconstruction import Reconstruction, ReconstructionState

MOST_SAMPLES = 16
"""Of one order; each is a job."""


class PictureFormat(StrEnum):
    """What file a reconstruction becomes."""

    PNG = "png"
    """Exact."""
    WEBP = "webp"
    """Small."""
    AVIF = "avif"
    """Smallest."""


class OrderOptions(DecodeOptions):
    """The body of an order."""

    later_fields: ClassVar[frozenset[str]] = DecodeOptions.later_fields | {"samples", "priority", "deadline"}

    format: PictureFormat = Field(PictureFormat.PNG, description="The file that is made of the picture.")
    samples: int = Field(
        1,
        ge=1,
        le=MOST_SAMPLES,
        description="Diffusion: reconstructions of seeds that follow each other, each with its job.",
    )
    priority: JobPriority = Field(
        JobPriority.INTERACTIVE,
        description="How urgent the job is: bulk for one of many. One that is on its way is hurried, never put back.",
    )
    deadline: Deadline | None = Field(
        None,
        description="When the picture is wanted. Of jobs of one priority the one with the earliest deadline goes "
        "first; one that is past, or cannot be kept, hurries nothing.",
    )

    @model_validator(mode="after")
    def _samples_have_noise(self) -> Self:
        if self.samples > 1 and self.restorer_name is not RestorerName.DIFFUSION:
            raise ValueError(
                f"samples differ by their noise, and the restorer {self.restorer_name} has none; take diffusion"
            )
        return self

    def decode_options(self) -> DecodeOptions:
        """The part that the codec knows, with the restorer by name: one that is left out is the same order."""
        known = self.model_dump(include=set(DecodeOptions.model_fields))
        return DecodeOptions.model_validate(known | {"restorer": self.restorer_name})


class ReconstructionLinks(BaseModel):
    """Where to go on."""

    self: str
    image: str
    content: str | None = Field(description="Null until it is ready.")


class ReconstructionOut(BaseModel):
    """A picture restored from a stream. What its making finds out is null until the state is `ready`."""

    id: str = Field(examples=["rec_01kb2c9q0r5w3v7x1y8z4t6n2m"])
    owner: str = Field(description="Whose it is.", examples=["default"])
    image_id: str
    state: ReconstructionState
    format: str
    options: JSONObject
    created_at: datetime
    width: int | None
    height: int | None
    size_bytes: int | None
    sha256: str | None
    restorer: str | None
    schedule: str | None
    seed: int | None
    seconds: dict[str, float] | None
    weights: dict[str, str] | None = Field(description="SHA-256 of the networks that had a part in it, by part.")
    links: ReconstructionLinks


class Sample(BaseModel):
    """A reconstruction and the job that makes or made it."""

    reconstruction: ReconstructionOut
    job: JobOut


class OrderedReconstruction(Sample):
    """What was ordered; of several samples the first, and all of them in `samples`."""

    samples: list[Sample] = Field(default=[], description="All of them, where more than one was ordered.")


def to_out(row: Reconstruction) -> ReconstructionOut:
    """The reconstruction as it looks over HTTP."""
    own = address(f"/v1/reconstructions/{row.id}")
    return ReconstructionOut(
        id=row.id,
        owner=row.owner,
        image_id=row.image_id,
        state=row.state,
        format=row.format,
        options=row.options,
        created_at=row.created_at,
        width=row.width,
        height=row.height,
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        restorer=row.restorer,
        schedule=row.schedule,
        seed=row.seed,
        seconds=row.seconds,
        weights=row.weights,
        links=ReconstructionLinks(
            self=own,
            image=address(f"/v1/images/{row.image_id}"),
            content=f"{own}/content" if row.object_key is not None else None,
        ),
    )
