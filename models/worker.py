"""Worker processes that told of themselves lately."""

from datetime import datetime

from sqlalchemy import JSON, Boolean, Integer, String, false
from sqlalchemy.orm import Mapped, mapped_column

from models.base import ID_LENGTH, Base, new_id, utc_now


class Worker(Base):
    """One row for each process, which it writes again every few seconds and deletes when it ends.

    `name` is what its jobs have in `worker`; `seen_at` is by the database's clock.
    """

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True, default=lambda: new_id("wrk"))
    name: Mapped[str] = mapped_column(String(48))
    queues: Mapped[list[str]] = mapped_column(JSON)
    threads: Mapped[int] = mapped_column(Integer)
    version: Mapped[str] = mapped_column(String(40))
    running: Mapped[int] = mapped_column(Integer, default=0)
    drain_requested: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    """Whether it shall finish what it has and begin nothing more."""
    started_at: Mapped[datetime] = mapped_column(default=utc_now)
    seen_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
