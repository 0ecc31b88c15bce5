"""A picture restored from a stream: a cache, any of them can be made again."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import ID_LENGTH, Base, JSONObject, new_id, text_enum, utc_now
from models.owner import Owned


class ReconstructionState(StrEnum):
    """Where a reconstruction stands; follows its job."""

    PENDING = "pending"
    """Its job has not ended."""
    READY = "ready"
    """The picture is stored."""
    FAILED = "failed"
    """Its job failed."""
    CANCELLED = "cancelled"
    """Its job was cancelled."""


class Reconstruction(Owned, Base):
    """`options_sha256` finds the one that was already made with the same options from the same image."""

    __tablename__ = "reconstructions"

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True, default=lambda: new_id("rec"))
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"))
    state: Mapped[ReconstructionState] = mapped_column(
        text_enum(ReconstructionState), default=ReconstructionState.PENDING
    )
    options: Mapped[JSONObject] = mapped_column(JSON)
    options_sha256: Mapped[str] = mapped_column(String(64))
    format: Mapped[str] = mapped_column(String(10))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    last_used_at: Mapped[datetime | None] = mapped_column(default=utc_now, index=True)
    """When it was last ordered or fetched, to the hour."""

    sha256: Mapped[str | None] = mapped_column(String(64), index=True)
    object_key: Mapped[str | None] = mapped_column(String(200))
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    width: Mapped[int | None] = mapped_column(Integer)
    height: Mapped[int | None] = mapped_column(Integer)
    restorer: Mapped[str | None] = mapped_column(String(40))
    schedule: Mapped[str | None] = mapped_column(String(20))
    seed: Mapped[int | None] = mapped_column(BigInteger)
    seconds: Mapped[JSONObject | None] = mapped_column(JSON)
    weights: Mapped[JSONObject | None] = mapped_column(JSON)
    """SHA-256 of each network that had a part in it, by part; null for those made before this was noted."""

    __table_args__ = (Index("ix_reconstructions_same", "image_id", "options_sha256"),)
