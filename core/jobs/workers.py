"""Worker processes as the database knows them: what they tell of themselves, and what they are asked to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import cast

from sqlalchemy import Boolean, ColumnElement, Table, bindparam, delete, insert, select, type_coerce, update
from sqlalchemy.orm import Session

from core.clock import database_now
from core.database import Database
from core.errors import NotFound
from models.worker import Worker

_WORKERS = cast(Table, Worker.__table__)

HEARTBEAT_SECONDS = 5.0

_LOST_AFTER = timedelta(seconds=4 * HEARTBEAT_SECONDS)
"""A worker that did not tell of itself for so long is taken for dead. Its jobs do not depend on that: leases do."""

_KEPT = timedelta(hours=1)
"""Dead workers are listed for so long, for somebody to see that they died."""

_TELL = (
    update(_WORKERS)
    .where(_WORKERS.c.id == bindparam("worker_id"))
    .values(running=bindparam("under_way"), seen_at=database_now())
    .returning(_WORKERS.c.drain_requested)
)


class WorkerState(StrEnum):
    """How a worker process stands."""

    ALIVE = "alive"
    """It takes jobs."""
    DRAINING = "draining"
    """It finishes its jobs, and takes no others."""
    DRAINED = "drained"
    """It has finished them."""
    LOST = "lost"
    """It did not tell of itself lately; its jobs go to others."""


@dataclass(frozen=True)
class NewWorker:
    """A process as it introduces itself; `name` is what its jobs have in `worker`."""

    id: str
    name: str
    queues: Sequence[str]
    threads: int
    version: str


def tell(database: Database, worker: NewWorker, running: int) -> bool:
    """Note that the process is alive and has so many jobs under way; returns whether it shall drain."""
    rows = database.execute_alone(_TELL, {"worker_id": worker.id, "under_way": running})
    if rows:
        return bool(rows[0][0])
    with database.write() as session:
        session.execute(
            insert(_WORKERS).values(
                id=worker.id,
                name=worker.name,
                queues=list(worker.queues),
                threads=worker.threads,
                version=worker.version,
                running=running,
                seen_at=database_now(),
            )
        )
        session.execute(delete(Worker).where(Worker.seen_at < database_now(-_KEPT)))
    return False


def leave(database: Database, worker_id: str) -> None:
    """Forget a process that ends in order."""
    database.execute_alone(delete(_WORKERS).where(_WORKERS.c.id == worker_id))


def list_workers(session: Session) -> list[tuple[Worker, WorkerState]]:
    """All workers that are known, those that were started last first."""
    rows = session.execute(select(Worker, _is_lost()).order_by(Worker.id.desc()))
    return [(worker, _state(worker.drain_requested, worker.running, is_lost)) for worker, is_lost in rows]


def count(session: Session) -> dict[tuple[str, WorkerState], int]:
    """How many workers each queue has, by state."""
    counts: dict[tuple[str, WorkerState], int] = {}
    for worker, state in list_workers(session):
        for queue in worker.queues:
            counts[queue, state] = counts.get((queue, state), 0) + 1
    return counts


def request_drain(session: Session, worker_id: str, is_wanted: bool) -> tuple[Worker, WorkerState]:
    """Ask a worker to take no more jobs, or to take jobs again; it hears of that within seconds. Raises NotFound."""
    session.execute(update(Worker).where(Worker.id == worker_id).values(drain_requested=is_wanted))
    row = session.execute(select(Worker, _is_lost()).where(Worker.id == worker_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no worker {worker_id!r}.")
    worker, is_lost = row
    return worker, _state(is_wanted, worker.running, is_lost)


def _is_lost() -> ColumnElement[bool]:
    return type_coerce(Worker.seen_at < database_now(-_LOST_AFTER), Boolean)


def _state(drain_requested: bool, running: int, is_lost: bool) -> WorkerState:
    if is_lost:
        return WorkerState.LOST
    if not drain_requested:
        return WorkerState.ALIVE
    return WorkerState.DRAINING if running else WorkerState.DRAINED
