"""Requests for descriptions that are sent many at a time: jobs are put off for them, and woken by what comes back.

Knows the tables only. What goes over the network does so between these transactions, each of which is safe to do again.
Locks are taken in one order: requests, then jobs, then who waits, then loose objects.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, delete, exists, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from core.archive import object_lifecycle
from core.archive.object_lifecycle import NewObject
from core.database import Database
from core.describing.budget import Reservation
from core.jobs import transitions
from core.jobs.job import Claim
from core.storage.keys import digest_in
from models.base import JSONObject, new_id, utc_now
from models.batch_waiter import BatchWaiter
from models.cached_description import CachedDescription
from models.description_request import DescriptionRequest, RequestState
from models.job import Job, JobState
from models.llm_batch import LLMBatch

_CHUNK = 200
"""Requests in one transaction, or in one list of a statement."""

_PLAIN = {"synchronize_session": False}


@dataclass(frozen=True)
class Line:
    """What is to be sent for one picture: the key of its answer, where the line lies, and what it may cost."""

    key: str
    object_key: str
    size_bytes: int
    cost: float


@dataclass(frozen=True)
class Lot:
    """A lot that has not ended, and how far it is."""

    id: str
    file_id: str | None
    batch_id: str | None
    reserved: Reservation | None
    created_at: datetime


def has_waited(database: Database, job_id: str) -> bool:
    """Whether the job was put off before."""
    with database.read() as session:
        return session.get(BatchWaiter, job_id) is not None


def put_off(session: Session, held: Claim, line: Line, patience: timedelta) -> None:
    """Note the request and queue the job again, due when its answer comes or after `patience`; raises LeaseLost.

    The attempt is not counted. A job whose answer has come meanwhile is due at once.
    """
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    request = insert(DescriptionRequest).values(
        key=line.key,
        state=RequestState.WAITING,
        object_key=line.object_key,
        size_bytes=line.size_bytes,
        cost=line.cost,
        created_at=utc_now(),
    )
    # One that is there already is joined. Changing nothing in it locks it, so that nobody ends it without this job.
    session.execute(
        request.on_conflict_do_update(
            index_elements=[DescriptionRequest.key], set_={"object_key": DescriptionRequest.object_key}
        )
    )
    is_answered = session.scalar(
        select(exists().where(CachedDescription.key == line.key, CachedDescription.content.is_not(None)))
    )
    delay = timedelta(0) if is_answered else patience
    transitions.requeue(session, held, delay=delay, count_attempt=False, stage="describe")
    session.add(BatchWaiter(job_id=held.job_id, key=line.key))
    session.flush()
    object_lifecycle.retain(session, NewObject(line.object_key, digest_in(line.object_key) or "", line.size_bytes))


_FORGOTTEN_AT_ONCE = 1000


def forget_unwanted(database: Database) -> None:
    """Drop requests whose jobs were all cancelled or deleted before they were sent."""
    with database.write() as session:
        waits = exists().where(
            BatchWaiter.key == DescriptionRequest.key,
            Job.id == BatchWaiter.job_id,
            Job.state == JobState.QUEUED,
        )
        unwanted = select(DescriptionRequest.key).where(DescriptionRequest.state == RequestState.WAITING, ~waits)
        # Locked first and asked again: a job that joins at this moment has locked its request, and a statement that
        # waits for it would not see it.
        keys = list(session.scalars(unwanted.limit(_FORGOTTEN_AT_ONCE).with_for_update(skip_locked=True)))
        dropped = session.execute(
            delete(DescriptionRequest)
            .where(DescriptionRequest.key.in_(keys), DescriptionRequest.state == RequestState.WAITING, ~waits)
            .returning(DescriptionRequest.object_key),
            execution_options=_PLAIN,
        ).scalars()
        for object_key in sorted(set(dropped)):
            object_lifecycle.drop(session, object_key, shared=True)


def answered(database: Database) -> list[str]:
    """Keys of requests that need not be sent any more, since somebody bought the answer."""
    with database.read() as session:
        return list(
            session.scalars(
                select(DescriptionRequest.key)
                .join(CachedDescription, CachedDescription.key == DescriptionRequest.key)
                .where(DescriptionRequest.state == RequestState.WAITING, CachedDescription.content.is_not(None))
            )
        )


def waiting(database: Database, limit: int) -> tuple[list[Line], datetime | None]:
    """The oldest requests that wait for a lot, and since when the first has."""
    with database.read() as session:
        rows = session.execute(
            select(*_LINE, DescriptionRequest.created_at)
            .where(DescriptionRequest.state == RequestState.WAITING)
            .order_by(DescriptionRequest.created_at, DescriptionRequest.key)
            .limit(limit)
        ).all()
    return [Line(*row[:-1]) for row in rows], rows[0][-1] if rows else None


def make_lot(database: Database, lines: Sequence[Line], reserved: Reservation | None) -> bool:
    """Put these requests in a lot; False, and nothing done, when one of them is not to be had any more."""
    lot_id = new_id("lot")
    with database.write() as session:
        session.add(
            LLMBatch(
                id=lot_id,
                spending_period=None if reserved is None else reserved.period,
                reserved=0 if reserved is None else reserved.amount,
            )
        )
        session.flush()
        taken = 0
        for chunk in _chunks(sorted(line.key for line in lines)):
            taken += _count(
                session.execute(
                    update(DescriptionRequest)
                    .where(DescriptionRequest.key.in_(chunk), DescriptionRequest.state == RequestState.WAITING)
                    .values(state=RequestState.SENT, lot_id=lot_id),
                    execution_options=_PLAIN,
                )
            )
        if taken != len(lines):
            session.rollback()
            return False
    return True


def open_lots(database: Database) -> list[Lot]:
    """The lots that have not ended, oldest first."""
    with database.read() as session:
        rows = session.scalars(select(LLMBatch).where(LLMBatch.has_ended.is_(False)).order_by(LLMBatch.id)).all()
    return [
        Lot(
            row.id,
            row.file_id,
            row.batch_id,
            None if row.spending_period is None else Reservation(row.spending_period, row.reserved),
            row.created_at,
        )
        for row in rows
    ]


def claim(database: Database, lot_id: str, claimant: str, lease: timedelta) -> bool:
    """Have a lot to oneself for the length of the lease, or longer by claiming it again; False when somebody has it."""
    now = utc_now()
    is_free = or_(LLMBatch.claimant.is_(None), LLMBatch.claimant == claimant, LLMBatch.claimed_until < now)
    statement = (
        update(LLMBatch)
        .where(LLMBatch.id == lot_id, LLMBatch.has_ended.is_(False), is_free)
        .values(claimant=claimant, claimed_until=now + lease)
        .returning(LLMBatch.id)
    )
    return bool(database.execute_alone(statement))


def let_go(database: Database, lot_id: str, claimant: str) -> None:
    """Give a claim up before its lease is over."""
    statement = update(LLMBatch).where(LLMBatch.id == lot_id, LLMBatch.claimant == claimant)
    database.execute_alone(statement.values(claimant=None, claimed_until=None))


def lines_of(database: Database, lot_id: str) -> list[Line]:
    """The requests of a lot that have not ended, oldest first."""
    with database.read() as session:
        rows = session.execute(
            select(*_LINE)
            .where(DescriptionRequest.lot_id == lot_id, DescriptionRequest.state == RequestState.SENT)
            .order_by(DescriptionRequest.created_at, DescriptionRequest.key)
        ).all()
    return [Line(*row) for row in rows]


def note_sent(database: Database, lot_id: str, *, file_id: str | None = None, batch_id: str | None = None) -> None:
    """Write down what the server calls the file or the batch."""
    known = {"file_id": file_id, "batch_id": batch_id}
    values = {name: value for name, value in known.items() if value is not None}
    database.execute_alone(update(LLMBatch).where(LLMBatch.id == lot_id).values(values))


def end_requests(database: Database, outcomes: Mapping[str, JSONObject | None]) -> None:
    """End requests and wake the jobs that wait for them. An outcome is what the answer cost, which the first of these
    jobs is charged with; or None, when there is no answer and the jobs have to ask for themselves."""
    for chunk in _chunks(sorted(outcomes)):
        with database.write() as session:
            _end_chunk(session, chunk, outcomes)


def end_lot(database: Database, lot_id: str) -> bool:
    """The lot is done with; True for the one caller that ends it."""
    statement = (
        update(LLMBatch)
        .where(LLMBatch.id == lot_id, LLMBatch.has_ended.is_(False))
        .values(has_ended=True, claimant=None, claimed_until=None)
        .returning(LLMBatch.id)
    )
    return bool(database.execute_alone(statement))


_LINE = (
    DescriptionRequest.key,
    DescriptionRequest.object_key,
    DescriptionRequest.size_bytes,
    DescriptionRequest.cost,
)


def _end_chunk(session: Session, keys: Sequence[str], outcomes: Mapping[str, JSONObject | None]) -> None:
    ended = session.execute(
        delete(DescriptionRequest)
        .where(DescriptionRequest.key.in_(keys))
        .returning(DescriptionRequest.key, DescriptionRequest.object_key),
        execution_options=_PLAIN,
    ).all()
    rows = session.execute(
        select(BatchWaiter.key, BatchWaiter.job_id)
        .where(BatchWaiter.key.in_([key for key, _ in ended]))
        .order_by(BatchWaiter.job_id)
    ).all()
    charged: dict[str, JSONObject] = {}
    told: set[str] = set()
    for key, job_id in rows:
        usage = outcomes[key]
        if usage is not None and key not in told:
            charged[job_id] = usage
        told.add(key)
    transitions.wake(session, [job_id for _, job_id in rows])
    for job_id, usage in sorted(charged.items()):
        transitions.charge(session, job_id, usage)
    for object_key in sorted({object_key for _, object_key in ended}):
        object_lifecycle.drop(session, object_key, shared=True)


def _chunks(keys: Sequence[str]) -> list[Sequence[str]]:
    return [keys[start : start + _CHUNK] for start in range(0, len(keys), _CHUNK)]


def _count(result: object) -> int:
    return cast("CursorResult[Any]", result).rowcount
