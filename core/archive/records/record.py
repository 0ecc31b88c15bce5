"""The record of one image as a value and as a file; docs/records.md describes the file. Knows no database."""

import hashlib
import json
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from core.errors import ObjectCorrupt
from models.base import ID_LENGTH, JSONObject
from models.owner import OWNER_LENGTH

MAX_RECORD_BYTES = 1024 * 1024
"""Far above the longest description; whole records are read into memory."""

_ID = Annotated[str, StringConstraints(pattern=r"^[a-z]{3}_[0-9a-z]{1,28}$", max_length=ID_LENGTH)]
_SHA256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Key = Annotated[str, StringConstraints(max_length=200)]


class _Part(BaseModel):
    """Read from rows by attribute. Keys that a later version adds are passed over."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class BatchPart(_Part):
    """The batch that the image belongs to."""

    id: _ID
    owner: Annotated[str, StringConstraints(max_length=OWNER_LENGTH)]
    name: str | None
    created_at: datetime


class DescriptionPart(_Part):
    """What describes the picture, names of items included: the stream keeps none."""

    describer: Annotated[str, StringConstraints(max_length=40)]
    content: JSONObject
    created_at: datetime


class JobPart(_Part):
    """The job that encoded the picture."""

    id: _ID
    owner: Annotated[str, StringConstraints(max_length=OWNER_LENGTH)]
    queue: Annotated[str, StringConstraints(max_length=24)]
    attempts: int
    max_attempts: int
    worker: str | None
    is_suspect: bool
    pauses: int
    stage: str | None
    progress: float
    seconds: JSONObject | None
    usage: JSONObject | None
    request_id: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class ImagePart(_Part):
    """The image itself."""

    id: _ID
    owner: Annotated[str, StringConstraints(max_length=OWNER_LENGTH)]
    name: Annotated[str, StringConstraints(max_length=255)]
    folder: Annotated[str, StringConstraints(max_length=500)] | None
    created_at: datetime
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    media_type: Annotated[str, StringConstraints(max_length=100)]
    original_bytes: int | None
    original_sha256: _SHA256 | None
    original_key: _Key | None
    keep_original: bool
    options: JSONObject
    bitstream_sha256: _SHA256
    bitstream_bytes: int = Field(ge=1)
    bits: JSONObject | None
    mode: str | None
    profile: str | None
    networks: dict[str, str] | None
    reference_key: _Key | None
    declared_bits: int | None
    maps: list[list[str]] | None
    seconds: JSONObject | None
    notes: list[str] | None
    usage: JSONObject | None
    kept_metadata: JSONObject | None = None
    quality: JSONObject | None = None
    perceptual_hash: int | None = None
    """Not in the first records."""


class ImageRecord(_Part):
    """All that the database knows of an image whose stream is stored; `software` is the version that wrote it down."""

    version: Literal[1] = 1
    software: str
    image: ImagePart
    batch: BatchPart | None
    description: DescriptionPart | None
    job: JobPart | None

    def to_bytes(self) -> bytes:
        """The file: equal records give equal bytes."""
        content = _canonical(self.model_dump(mode="json"))
        sha256 = hashlib.sha256(content.encode()).hexdigest()
        return f'{{"record":{content},"sha256":"{sha256}"}}\n'.encode()

    @classmethod
    def from_bytes(cls, data: bytes, key: str) -> Self:
        """The record in a file; raises ObjectCorrupt, which names the key, for anything else."""
        try:
            document: dict[str, Any] = json.loads(data)
            if hashlib.sha256(_canonical(document["record"]).encode()).hexdigest() != document["sha256"]:
                raise ObjectCorrupt(f"{key} does not have the checksum that it says; restore it from a backup")
            return cls.model_validate(document["record"])
        except (ValueError, TypeError, KeyError, RecursionError, ValidationError) as error:
            raise ObjectCorrupt(f"{key} is no record of an image that this version can read") from error


def _canonical(value: Any) -> str:
    """JSON in ASCII with sorted keys and no spaces; texts that are no Unicode, such as file names may be, included."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
