"""A picture in the archive: what came in, what is kept of it."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, ForeignKey, Index, Integer, String, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from models.base import ID_LENGTH, Base, JSONObject, new_id, text_enum, utc_now
from models.description import DescriptionRecord
from models.owner import Owned, owner_index

FOLDER_LENGTH = 500

BANDS = {shift: f"((perceptual_hash >> {shift}) & 65535)" for shift in (0, 16, 32, 48)}
"""The four parts of a perceptual hash as the database has an index of each, by the bits below it."""


def _where_there(name: str) -> dict[str, Any]:
    """Keeps an index to the few rows that have a value."""
    condition = text(f"{name} IS NOT NULL")
    return {"postgresql_where": condition, "sqlite_where": condition}


class ImageState(StrEnum):
    """Where an image is on its way into the archive."""

    PENDING = "pending"
    """Its encode job has not ended."""
    READY = "ready"
    """Its stream is stored, was read back and verified."""
    FAILED = "failed"
    """Its encode job failed; the original is still there."""
    CANCELLED = "cancelled"
    """Its encode job was cancelled before a stream was stored; the original is still there."""


class Image(Owned, Base):
    """One row for each picture submitted or stream taken in."""

    __tablename__ = "images"

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True, default=lambda: new_id("img"))
    name: Mapped[str] = mapped_column(String(255))
    folder: Mapped[str | None] = mapped_column(String(FOLDER_LENGTH))
    """Where it lay in what was handed in, as `2024/may`."""
    state: Mapped[ImageState] = mapped_column(text_enum(ImageState), default=ImageState.PENDING, index=True)
    batch_id: Mapped[str | None] = mapped_column(ForeignKey("batches.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)

    width: Mapped[int] = mapped_column(Integer)
    height: Mapped[int] = mapped_column(Integer)
    media_type: Mapped[str] = mapped_column(String(100))
    original_bytes: Mapped[int | None] = mapped_column(BigInteger)
    original_sha256: Mapped[str | None] = mapped_column(String(64))
    original_key: Mapped[str | None] = mapped_column(String(200))
    keep_original: Mapped[bool] = mapped_column(Boolean, default=False)
    options: Mapped[JSONObject] = mapped_column(JSON)

    bitstream_sha256: Mapped[str | None] = mapped_column(String(64), index=True)
    bitstream_bytes: Mapped[int | None] = mapped_column(BigInteger)
    bits: Mapped[JSONObject | None] = mapped_column(JSON)
    mode: Mapped[str | None] = mapped_column(String(20))
    profile: Mapped[str | None] = mapped_column(String(20))
    reference_key: Mapped[str | None] = mapped_column(String(200))
    declared_bits: Mapped[int | None] = mapped_column(BigInteger)
    maps: Mapped[list[list[str]] | None] = mapped_column(JSON)
    seconds: Mapped[JSONObject | None] = mapped_column(JSON)
    notes: Mapped[list[str] | None] = mapped_column(JSON)
    usage: Mapped[JSONObject | None] = mapped_column(JSON(none_as_null=True))
    quality: Mapped[JSONObject | None] = mapped_column(JSON(none_as_null=True))
    """How good the picture came back when it was decoded at once; null where that was not asked for."""
    perceptual_hash: Mapped[int | None] = mapped_column(BigInteger)
    """Of the original; pictures that look alike have nearly the same. Null for streams that were taken in."""
    networks: Mapped[dict[str, str] | None] = mapped_column(JSON(none_as_null=True))
    """Digest prefixes of the networks that the stream names, by part; null for streams from before this was noted."""
    kept_metadata: Mapped[JSONObject | None] = mapped_column(JSON(none_as_null=True))
    """When and where it was taken and its file's date, where the upload asked to keep that; null else."""
    record_sha256: Mapped[str | None] = mapped_column(String(64), index=True)
    """Of the record that says in storage what this row says; null until it is written, or written anew."""

    description: Mapped[DescriptionRecord | None] = relationship(lazy="joined", passive_deletes=True)

    __table_args__ = (
        owner_index("images"),
        *(Index(f"ix_images_{name}", name, **_where_there(name)) for name in ("original_key", "reference_key")),
        *(Index(f"ix_images_likeness_{number}", text(band)) for number, band in enumerate(BANDS.values())),
    )

    @property
    def path(self) -> str:
        """The name with its folders in front."""
        return f"{self.folder}/{self.name}" if self.folder else self.name

    @property
    def bpp(self) -> float | None:
        """Bits of the file per pixel of the original; None until the stream is there."""
        if self.bitstream_bytes is None:
            return None
        return self.bitstream_bytes * 8 / (self.width * self.height)
