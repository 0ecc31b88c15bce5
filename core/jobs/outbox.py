"""Notifications on their way to the broker: written with the job, sent after commit, deleted when the broker has them.

A process that dies in between leaves the row behind, and the reconciler sends it.
"""

import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import cast

from sqlalchemy import Float, Table, bindparam, delete, func, insert, select
from sqlalchemy.orm import Session

from core.background import MicroBatcher
from core.broker import Broker
from core.clock import database_now
from core.database import Database
from models.outbox import OutboxRow

_OUTBOX = cast(Table, OutboxRow.__table__)
_ENQUEUE = insert(_OUTBOX).values(
    job_id=bindparam("job_id"), queue=bindparam("queue"), due_at=database_now(bindparam("later", type_=Float()))
)
_BATCH = 500

_GATHER_SECONDS = 0.005
"""Notifications that are committed within this time are sent in one go."""

_CLEAN_SECONDS = 0.25
"""Rows that were sent wait this long for others to be deleted with; a crash meanwhile only sends them once more."""


def enqueue(session: Session, job_id: str, queue: str, delay: timedelta = timedelta(0)) -> None:
    """Write the notification, to be sent after `delay`, in the transaction of the job's own change."""
    session.execute(_ENQUEUE, {"job_id": job_id, "queue": queue, "later": delay.total_seconds()})


def withdraw(session: Session, job_ids: Sequence[str]) -> None:
    """Delete the notifications of these jobs that were not sent yet."""
    session.execute(delete(_OUTBOX).where(_OUTBOX.c.job_id.in_(job_ids)))


def count_unsent(session: Session) -> int:
    """How many wake-ups the broker does not have yet."""
    return session.scalar(select(func.count()).select_from(OutboxRow)) or 0


def flush_outbox(database: Database, broker: Broker, *, older_than: timedelta = timedelta(0)) -> int:
    """Send what has been due for `older_than` and delete it; returns how many rows. Raises BrokerUnavailable."""
    sent = 0
    while True:
        with database.read() as session:
            rows = session.execute(
                select(OutboxRow.id, OutboxRow.job_id, OutboxRow.queue)
                .where(OutboxRow.due_at <= database_now(-older_than))
                .order_by(OutboxRow.id)
                .limit(_BATCH)
            ).all()
        if not rows:
            return sent
        _notify(broker, [(job_id, queue) for _, job_id, queue in rows])
        with database.write() as session:
            session.execute(delete(OutboxRow).where(OutboxRow.id.in_([row[0] for row in rows])))
        sent += len(rows)


class OutboxSender:
    """Sends fresh notifications from one thread, so that submitting waits for the database only.

    Many notifications that were committed at about the same time share one deletion.
    """

    def __init__(self, database: Database, broker: Broker) -> None:
        self._database, self._broker = database, broker
        self._fresh: MicroBatcher[tuple[str, str]] = MicroBatcher("outbox-sender", _GATHER_SECONDS, _BATCH, self._send)
        self._sent: MicroBatcher[tuple[str, float]] = MicroBatcher(
            "outbox-cleaner", _CLEAN_SECONDS, _BATCH, self._delete
        )

    def start(self) -> None:
        """Begin to send."""
        self._fresh.start()
        self._sent.start()

    def notify(self, job_ids: Iterable[str], queue: str) -> None:
        """Send the notifications of jobs that are committed. Returns at once."""
        for job_id in job_ids:
            self._fresh.put((job_id, queue))

    def close(self) -> None:
        """Send what is left, then end."""
        self._fresh.close()
        self._sent.close()

    def _send(self, batch: list[tuple[str, str]]) -> None:
        sent_at = time.monotonic()
        # When the broker or the database is away the rows stay, and the reconciler sends them later.
        _notify(self._broker, batch)
        for job_id, _ in batch:
            self._sent.put((job_id, sent_at))

    def _delete(self, batch: list[tuple[str, float]]) -> None:
        by_moment: dict[float, list[str]] = {}
        for job_id, sent_at in batch:
            by_moment.setdefault(sent_at, []).append(job_id)
        for sent_at, job_ids in by_moment.items():
            # A worker may have enqueued the job's next attempt meanwhile, which is due later.
            sent = database_now(timedelta(seconds=sent_at - time.monotonic()))
            self._database.execute_alone(delete(_OUTBOX).where(_OUTBOX.c.job_id.in_(job_ids), _OUTBOX.c.due_at <= sent))


def _notify(broker: Broker, notifications: Iterable[tuple[str, str]]) -> None:
    by_queue: dict[str, list[str]] = {}
    for job_id, queue in notifications:
        by_queue.setdefault(queue, []).append(job_id)
    for queue, job_ids in by_queue.items():
        broker.notify(job_ids, queue)
