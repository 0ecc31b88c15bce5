"""Promised wake-ups: written with the job, sent after commit, deleted when the broker has them.

A process that dies in between leaves the row behind, and the reconciler sends it.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import Table, delete, insert, select
from sqlalchemy.orm import Session

from core.background import MicroBatcher
from core.broker import Broker
from core.database import Database
from models.base import utc_now
from models.outbox import OutboxRow

_OUTBOX = cast(Table, OutboxRow.__table__)
_PROMISE = insert(_OUTBOX)
_BATCH = 500

_GATHER_SECONDS = 0.005
"""Promises that are made within this time are sent in one go."""

_CLEAN_SECONDS = 0.25
"""Sent promises wait this long for others to be deleted with; a crash meanwhile only sends them once more."""


def promise(session: Session, job_id: str, to_queue: str, due_at: datetime) -> None:
    """Write the row, in the transaction of the job's own change."""
    session.execute(_PROMISE, {"job_id": job_id, "queue": to_queue, "due_at": due_at})


def flush_outbox(database: Database, wake_ups: Broker, *, older_than: timedelta = timedelta(0)) -> int:
    """Send every row that is due for `older_than` and delete it; returns how many. Raises BrokerUnavailable."""
    sent = 0
    while True:
        with database.read() as session:
            rows = session.execute(
                select(OutboxRow.id, OutboxRow.job_id, OutboxRow.queue)
                .where(OutboxRow.due_at <= utc_now() - older_than)
                .order_by(OutboxRow.id)
                .limit(_BATCH)
            ).all()
        if not rows:
            return sent
        by_queue: dict[str, list[str]] = {}
        for _, job_id, to_queue in rows:
            by_queue.setdefault(to_queue, []).append(job_id)
        for to_queue, job_ids in by_queue.items():
            wake_ups.send(job_ids, to_queue)
        with database.write() as session:
            session.execute(delete(OutboxRow).where(OutboxRow.id.in_([row[0] for row in rows])))
        sent += len(rows)


class OutboxSender:
    """Sends fresh promises from one thread, so that submitting waits for the database only.

    Many promises that were made at about the same time share one deletion.
    """

    def __init__(self, database: Database, wake_ups: Broker) -> None:
        self._database, self._wake_ups = database, wake_ups
        self._fresh: MicroBatcher[tuple[str, str]] = MicroBatcher("outbox-sender", _GATHER_SECONDS, _BATCH, self._send)
        self._sent: MicroBatcher[tuple[str, datetime]] = MicroBatcher(
            "outbox-cleaner", _CLEAN_SECONDS, _BATCH, self._forget
        )

    def start(self) -> None:
        """Begin to send."""
        self._fresh.start()
        self._sent.start()

    def committed(self, job_ids: Iterable[str], to_queue: str) -> None:
        """Say that these jobs are in the database now. Returns at once."""
        for job_id in job_ids:
            self._fresh.put((job_id, to_queue))

    def close(self) -> None:
        """Send what is left, then end."""
        self._fresh.close()
        self._sent.close()

    def _send(self, batch: list[tuple[str, str]]) -> None:
        by_queue: dict[str, list[str]] = {}
        for job_id, to_queue in batch:
            by_queue.setdefault(to_queue, []).append(job_id)
        moment = utc_now()
        # When the broker or the database is away the rows stay, and the reconciler sends them later.
        for to_queue, job_ids in by_queue.items():
            self._wake_ups.send(job_ids, to_queue)
        for job_id, _ in batch:
            self._sent.put((job_id, moment))

    def _forget(self, batch: list[tuple[str, datetime]]) -> None:
        by_moment: dict[datetime, list[str]] = {}
        for job_id, moment in batch:
            by_moment.setdefault(moment, []).append(job_id)
        for moment, job_ids in by_moment.items():
            # A worker may have promised its next attempt meanwhile, which is due later.
            kept_promises = delete(_OUTBOX).where(_OUTBOX.c.job_id.in_(job_ids), _OUTBOX.c.due_at <= moment)
            self._database.execute_alone(kept_promises)
