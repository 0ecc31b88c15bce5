"""Requests for descriptions that are sent many at a time: jobs are deferred for them, and woken by the answers.

Knows the tables only. What goes over the network does so between these transactions, each of which is safe to do again.
Locks are taken in one order: requests, then jobs, then waiters, then pending deletions.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, delete, exists, or_, select, update
from sqlalchemy.orm import Session

from core.archive import object_lifecycle
from core.archive.object_lifecycle import NewObject
from core.database import Database, insert_into
from core.describing.budget import Reservation
from core.jobs import transitions
from core.jobs.job import Claim
from core.owners import quotas
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
class BatchItem:
    """One request: the key of its answer, where its line lies in storage, and what it may cost. `object_key` is empty
    where the line is not stored, since its sender can make it again."""

    key: str
    object_key: str
    size_bytes: int
    cost: float


def key_waited_for(database: Database, job_id: str) -> str | None:
    """The key of the answer that the job waited for in a batch before; None for one that did not."""
    with database.read() as session:
        waiter = session.get(BatchWaiter, job_id)
        return None if waiter is None else waiter.key


def enqueue(session: Session, item: BatchItem) -> None:
    """Record a request that waits for a batch. One that is there already is joined."""
    request = insert_into(session, DescriptionRequest).values(
        key=item.key,
        state=RequestState.WAITING,
        object_key=item.object_key,
        size_bytes=item.size_bytes,
        cost=item.cost,
        created_at=utc_now(),
    )
    # Changing nothing in a request that is there locks it, so that nobody ends it without this caller.
    session.execute(
        request.on_conflict_do_update(
            index_elements=[DescriptionRequest.key], set_={"object_key": DescriptionRequest.object_key}
        )
    )


def defer(session: Session, claim: Claim, item: BatchItem, patience: timedelta) -> None:
    """Enqueue the request of a job and the job again, due when its answer comes or after `patience`; raises LeaseLost.

    The attempt is not counted. A job whose answer has come meanwhile is due at once.
    """
    enqueue(session, item)
    is_answered = session.scalar(
        select(exists().where(CachedDescription.key == item.key, CachedDescription.content.is_not(None)))
    )
    delay = timedelta(0) if is_answered else patience
    transitions.requeue(session, claim, delay=delay, count_attempt=False, stage="describe")
    session.add(BatchWaiter(job_id=claim.job_id, key=item.key))
    session.flush()
    object_lifecycle.retain(session, NewObject(item.object_key, digest_in(item.object_key) or "", item.size_bytes))


_DROPPED_AT_ONCE = 1000


def drop_unwanted(database: Database) -> None:
    """Drop requests whose jobs were all cancelled or deleted before they were sent; those of no job stay."""
    with database.write() as session:
        waits = exists().where(
            BatchWaiter.key == DescriptionRequest.key,
            Job.id == BatchWaiter.job_id,
            Job.state == JobState.QUEUED,
        )
        is_unwanted = (
            (DescriptionRequest.state == RequestState.WAITING) & (DescriptionRequest.object_key != "") & ~waits
        )
        # Locked first and asked again: a job that joins at this moment has locked its request, and a statement that
        # waits for it would not see it.
        unwanted = select(DescriptionRequest.key).where(is_unwanted).limit(_DROPPED_AT_ONCE)
        keys = list(session.scalars(unwanted.with_for_update(skip_locked=True)))
        dropped = session.execute(
            delete(DescriptionRequest)
            .where(DescriptionRequest.key.in_(keys), is_unwanted)
            .returning(DescriptionRequest.object_key),
            execution_options=_PLAIN,
        ).scalars()
        for object_key in sorted(set(dropped)):
            object_lifecycle.drop(session, object_key, shared=True)


def keys_answered(database: Database) -> list[str]:
    """Keys of waiting requests that need not be sent any more, since their answers are in the cache."""
    with database.read() as session:
        return list(
            session.scalars(
                select(DescriptionRequest.key)
                .join(CachedDescription, CachedDescription.key == DescriptionRequest.key)
                .where(DescriptionRequest.state == RequestState.WAITING, CachedDescription.content.is_not(None))
            )
        )


def items_waiting(database: Database, limit: int) -> tuple[list[BatchItem], datetime | None]:
    """The oldest requests that wait for a batch, and since when the first has."""
    with database.read() as session:
        rows = session.execute(
            select(*_ITEM, DescriptionRequest.created_at)
            .where(DescriptionRequest.state == RequestState.WAITING)
            .order_by(DescriptionRequest.created_at, DescriptionRequest.key)
            .limit(limit)
        ).all()
    return [BatchItem(*row[:-1]) for row in rows], rows[0][-1] if rows else None


def create(database: Database, items: Sequence[BatchItem], reservation: Reservation | None) -> bool:
    """Put these requests in a new batch; False, and nothing done, when one of them does not wait any more."""
    with database.write() as session:
        batch = _new_batch(reservation)
        session.add(batch)
        session.flush()
        taken = 0
        for keys in _chunks(sorted(item.key for item in items)):
            taken += _count(
                session.execute(
                    update(DescriptionRequest)
                    .where(DescriptionRequest.key.in_(keys), DescriptionRequest.state == RequestState.WAITING)
                    .values(state=RequestState.SENT, lot_id=batch.id),
                    execution_options=_PLAIN,
                )
            )
        if taken != len(items):
            session.rollback()
            return False
    return True


def adopt(
    session: Session, file_id: str, batch_id: str | None, reservation: Reservation | None, items: Sequence[BatchItem]
) -> None:
    """Record a batch that is on the server already, with its requests; one that is recorded stays as it is."""
    if session.scalar(select(LLMBatch.id).where(LLMBatch.file_id == file_id)) is not None:
        return
    batch = _new_batch(reservation, file_id, batch_id)
    session.add(batch)
    session.flush()
    for item in items:
        enqueue(session, item)
    for keys in _chunks(sorted(item.key for item in items)):
        session.execute(
            update(DescriptionRequest)
            .where(DescriptionRequest.key.in_(keys))
            .values(state=RequestState.SENT, lot_id=batch.id),
            execution_options=_PLAIN,
        )


def open_batches(database: Database) -> list[LLMBatch]:
    """The batches that have not ended, oldest first."""
    with database.read() as session:
        return list(session.scalars(select(LLMBatch).where(LLMBatch.has_ended.is_(False)).order_by(LLMBatch.id)))


def reservation_of(batch: LLMBatch) -> Reservation | None:
    """The money set aside for a batch."""
    return None if batch.spending_period is None else Reservation(batch.spending_period, batch.reserved)


def is_idle(database: Database) -> bool:
    """True when no request waits and no batch is open."""
    with database.read() as session:
        is_busy = exists().where(LLMBatch.has_ended.is_(False)) | exists().where(DescriptionRequest.key.is_not(None))
        return not session.scalar(select(is_busy))


def claim(database: Database, llm_batch_id: str, claimant: str, lease: timedelta) -> bool:
    """Work on a batch alone for the length of the lease, or longer by claiming it again; False when another does."""
    now = utc_now()
    is_free = or_(LLMBatch.claimant.is_(None), LLMBatch.claimant == claimant, LLMBatch.claimed_until < now)
    statement = (
        update(LLMBatch)
        .where(LLMBatch.id == llm_batch_id, LLMBatch.has_ended.is_(False), is_free)
        .values(claimant=claimant, claimed_until=now + lease)
        .returning(LLMBatch.id)
    )
    return bool(database.execute_alone(statement))


def release(database: Database, llm_batch_id: str, claimant: str) -> None:
    """Give a claim up before its lease is over."""
    statement = update(LLMBatch).where(LLMBatch.id == llm_batch_id, LLMBatch.claimant == claimant)
    database.execute_alone(statement.values(claimant=None, claimed_until=None))


def items_of(database: Database, llm_batch_id: str) -> list[BatchItem]:
    """The requests of a batch that have not ended, oldest first."""
    with database.read() as session:
        rows = session.execute(
            select(*_ITEM)
            .where(DescriptionRequest.lot_id == llm_batch_id, DescriptionRequest.state == RequestState.SENT)
            .order_by(DescriptionRequest.created_at, DescriptionRequest.key)
        ).all()
    return [BatchItem(*row) for row in rows]


def record_sent(
    database: Database, llm_batch_id: str, *, file_id: str | None = None, batch_id: str | None = None
) -> None:
    """Write down what the server calls the file or the batch."""
    names = {"file_id": file_id, "batch_id": batch_id}
    values = {name: value for name, value in names.items() if value is not None}
    database.execute_alone(update(LLMBatch).where(LLMBatch.id == llm_batch_id).values(values))


def end_items(database: Database, outcomes: Mapping[str, JSONObject | None]) -> None:
    """End requests and wake the jobs that wait for them. An outcome is what the answer cost, which the first of these
    jobs is charged with; or None, when there is no answer and the jobs have to ask for themselves."""
    for chunk in _chunks(sorted(outcomes)):
        with database.write() as session:
            _end_chunk(session, chunk, outcomes)


def end(database: Database, llm_batch_id: str) -> bool:
    """End a batch; True for the one caller that does."""
    statement = (
        update(LLMBatch)
        .where(LLMBatch.id == llm_batch_id, LLMBatch.has_ended.is_(False))
        .values(has_ended=True, claimant=None, claimed_until=None)
        .returning(LLMBatch.id)
    )
    return bool(database.execute_alone(statement))


_ITEM = (
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
    charged_keys: set[str] = set()
    for key, job_id in rows:
        usage = outcomes[key]
        if usage is not None and key not in charged_keys:
            charged[job_id] = usage
        charged_keys.add(key)
    transitions.wake(session, [job_id for _, job_id in rows])
    spent: Counter[str] = Counter()
    for job_id, usage in sorted(charged.items()):
        owner = transitions.charge(session, job_id, usage)
        if owner is not None:
            spent[owner] += quotas.billionths(usage["cost"])
    # In one order, so that two transactions that charge the same owners cannot wait for each other.
    for owner in sorted(spent):
        quotas.spend(session, owner, spent[owner])
    for object_key in sorted({object_key for _, object_key in ended if object_key}):
        object_lifecycle.drop(session, object_key, shared=True)


def _new_batch(reservation: Reservation | None, file_id: str | None = None, batch_id: str | None = None) -> LLMBatch:
    period, amount = (None, 0) if reservation is None else (reservation.period, reservation.amount)
    return LLMBatch(id=new_id("lot"), file_id=file_id, batch_id=batch_id, spending_period=period, reserved=amount)


def _chunks(keys: Sequence[str]) -> list[Sequence[str]]:
    return [keys[start : start + _CHUNK] for start in range(0, len(keys), _CHUNK)]


def _count(result: object) -> int:
    return cast("CursorResult[Any]", result).rowcount
