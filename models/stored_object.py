"""The catalogue of storage: one row for each object that should be there."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, text_enum, utc_now


class ObjectKind(StrEnum):
    """What an object is to the archive."""

    BITSTREAM = "bitstream"
    """A `.misc` file; images of the same content share it."""
    ORIGINAL = "original"
    """A picture that was handed in; images of the same content share it."""
    RECONSTRUCTION = "reconstruction"
    """A decoded picture; it can be made again."""
    REFERENCE = "reference"
    """A picture of an outside codec that external streams name by digest."""
    REQUEST = "request"
    """A line for a language model's Batch API."""
    RECORD = "record"
    """What the database knows of one image, beside its stream."""
    PACK = "pack"
    """Many streams and records in one object; see `models.pack_member`."""
    NETWORK = "network"
    """A file of weights, or the card that says what it is."""


class StoredObject(Base):
    """Written in the transaction that first refers to the object, deleted before the object is.

    `location` is the key under which a store has the bytes. `size_bytes` is null for references that are older than
    this table; `last_verified_at` is when the bytes were last read back whole and had this digest, null for never.
    `damaged_at` is when they were found to have another one, or to be missing; it goes
    when good bytes are stored in their place.
    """

    __tablename__ = "stored_objects"

    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    kind: Mapped[ObjectKind] = mapped_column(text_enum(ObjectKind))
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    location: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
    last_verified_at: Mapped[datetime | None] = mapped_column(index=True)
    damaged_at: Mapped[datetime | None] = mapped_column()
    mirrored_at: Mapped[datetime | None] = mapped_column(index=True)
    """When the mirror was last known to have the same bytes; null where it need not, or does not yet."""
