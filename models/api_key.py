"""Keys by which callers are known. The keys themselves are kept nowhere."""

from datetime import datetime

from sqlalchemy import JSON, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import ID_LENGTH, Base, new_id, utc_now
from models.owner import OWNER_LENGTH

KEY_NAME_LENGTH = 64


class APIKey(Base):
    """`sha256` is that of the key, whose 256 random bits no guessing finds. A revoked key keeps its row.

    Of keys that are not revoked only one has a name.
    """

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True, default=lambda: new_id("key"))
    name: Mapped[str] = mapped_column(String(KEY_NAME_LENGTH))
    owner: Mapped[str] = mapped_column(String(OWNER_LENGTH), index=True)
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime | None] = mapped_column()
    revoked_at: Mapped[datetime | None] = mapped_column()

    __table_args__ = (
        Index(
            "ix_api_keys_name",
            "name",
            unique=True,
            postgresql_where=text("revoked_at IS NULL"),
            sqlite_where=text("revoked_at IS NULL"),
        ),
    )
