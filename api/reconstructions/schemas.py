"""How a reconstruction looks over HTTP, and the options of an order."""

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, Field

from api.jobs.schemas import JobOut
from api.root_path import address
from codec.options import DecodeOptions
from models.base import JSONObject
from models.reconstruction import Reconstruction, ReconstructionState


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

    format: PictureFormat = Field(PictureFormat.PNG, description="The file that is made of the picture.")

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


class OrderedReconstruction(BaseModel):
    """A reconstruction and the job that makes or made it."""

    reconstruction: ReconstructionOut
    job: JobOut


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
