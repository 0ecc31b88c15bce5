"""Jobs that were put off until a description comes back from a language model's Batch API."""

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import ID_LENGTH, Base


class BatchWaiter(Base):
    """A job is put off once: one that has a row here, and runs again, asks for itself what the book does not have."""

    __tablename__ = "description_waiters"

    job_id: Mapped[str] = mapped_column(String(ID_LENGTH), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(128), index=True)
