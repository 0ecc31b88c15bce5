"""What is said of an imported stream, and what it becomes."""

from datetime import datetime

from pydantic import AwareDatetime, BaseModel, Field, field_validator

from api.images.schemas import ImageOut
from codec.options.fields import Options


class StreamMetadata(Options):
    """The form field `metadata`: when and where the picture was taken that the stream was made of, as `misc encode
    --keep-metadata` writes it to NAME.meta.json."""

    file: str | None = Field(None, max_length=1024, description="What the picture was called; it is not kept.")
    modified_at: AwareDatetime | None = Field(None, description="When its file was last changed.")
    taken_at: str | None = Field(
        None, max_length=40, description="ISO 8601, with an offset where the camera noted one."
    )
    latitude: float | None = Field(None, ge=-90, le=90, description="Degrees north.")
    longitude: float | None = Field(None, ge=-180, le=180, description="Degrees east.")
    altitude_m: float | None = Field(None, ge=-20_000, le=100_000, description="Metres above the sea.")

    @field_validator("taken_at")
    @classmethod
    def _check_moment(cls, value: str | None) -> str | None:
        if value is not None:
            datetime.fromisoformat(value)
        return value


class ImportedBitstream(BaseModel):
    """The image that the stream became."""

    image: ImageOut
