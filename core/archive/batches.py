"""Batches: images followed as one group. Counts come from the jobs, so they cannot disagree with them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from core.database import insert_into
from core.errors import NotFound
from core.owners.view import View
from core.paging import Page, newest_page
from models.base import new_id, utc_now
from models.batch import Batch
from models.batch_rejection import MESSAGE_CHARS, BatchRejection
from models.job import Job, JobState


@dataclass(frozen=True)
class BatchCounts:
    """How a batch stands: its jobs by state, `advanced` of them by their own progress (those that ended count whole),
    pictures that were not taken, and how many were announced."""

    by_state: Mapping[JobState, int]
    advanced: float = 0.0
    rejected: int = 0
    expected: int | None = None

    @property
    def total(self) -> int:
        """Its jobs."""
        return sum(self.by_state.values())

    @property
    def ended(self) -> int:
        """Jobs that have ended, in whatever way."""
        return sum(count for state, count in self.by_state.items() if state.is_final)

    @property
    def missing(self) -> int:
        """Announced pictures that have not come."""
        return max(0, (self.expected or 0) - self.total - self.rejected)

    @property
    def progress(self) -> float:
        """In [0, 1]; of what was announced, where anything was, so that pictures that come do not set it back."""
        if self.expected is None:
            return self.advanced / self.total if self.total else 1.0
        whole = self.total + self.rejected + self.missing
        return (self.advanced + self.rejected) / whole if whole else 1.0

    @property
    def is_done(self) -> bool:
        """Whether every job has ended, in whatever way, and nothing that was announced is missing."""
        return self.ended == self.total and self.missing == 0


@dataclass(frozen=True)
class Rejection:
    """A picture that could not be taken into a batch; `name` has its folders in front."""

    name: str
    code: str
    message: str


def create(session: Session, name: str | None, owner: str, expected: int | None = None) -> Batch:
    """A batch without images, of which so many are announced."""
    batch = Batch(id=new_id("bat"), name=name, owner=owner, expected=expected)
    session.add(batch)
    session.flush()
    return batch


def get(session: Session, batch_id: str, view: View) -> Batch:
    """The batch; raises NotFound."""
    batch = session.get(Batch, batch_id)
    if batch is None or not view.has(batch):
        raise NotFound(f"There is no batch {batch_id!r}.")
    return batch


def list_batches(
    session: Session, view: View, *, limit: int, before: str | None = None, name: str | None = None
) -> Page[Batch]:
    """Batches, newest first; `before` is the id that the last page ended with, `name` the whole name of one."""
    query = select(Batch).where(*view.conditions(Batch))
    if name is not None:
        query = query.where(Batch.name == name)
    return newest_page(session, query, Batch.id, limit=limit, before=before)


def expect(session: Session, batch_id: str, view: View, expected: int | None) -> Batch:
    """Announce how many pictures the batch will have in the end; raises NotFound."""
    batch = get(session, batch_id, view)
    batch.expected = expected
    session.flush()
    return batch


def forget_one(session: Session, batch_id: str) -> None:
    """Expect one picture less, since one was deleted."""
    session.execute(
        update(Batch).where(Batch.id == batch_id, Batch.expected > 0).values(expected=Batch.expected - 1),
        execution_options={"synchronize_session": False},
    )


def reject(session: Session, batch_id: str, rejections: Sequence[Rejection]) -> None:
    """Note pictures that could not be taken; the last reason stands for a name that is sent again."""
    for rejection in rejections:
        new = insert_into(session, BatchRejection).values(
            batch_id=batch_id,
            name_sha256=_digest_of(rejection.name),
            name=rejection.name,
            code=rejection.code,
            message=rejection.message[:MESSAGE_CHARS],
            created_at=utc_now(),
        )
        changed = {"code": new.excluded.code, "message": new.excluded.message}
        key = [BatchRejection.batch_id, BatchRejection.name_sha256]
        session.execute(new.on_conflict_do_update(index_elements=key, set_=changed))


def accept(session: Session, batch_id: str, name: str) -> None:
    """Forget that a picture of this name could not be taken."""
    key = (BatchRejection.batch_id == batch_id, BatchRejection.name_sha256 == _digest_of(name))
    session.execute(delete(BatchRejection).where(*key))


def count(session: Session, batch_id: str) -> BatchCounts:
    """Counts and progress of a batch."""
    return count_each(session, [batch_id])[batch_id]


def count_each(session: Session, batch_ids: Sequence[str]) -> dict[str, BatchCounts]:
    """Counts by batch, in two queries."""
    by_state = {batch_id: dict.fromkeys(JobState, 0) for batch_id in batch_ids}
    advanced = dict.fromkeys(batch_ids, 0.0)
    rows = session.execute(
        select(Job.batch_id, Job.state, func.count(), func.sum(Job.progress))
        .where(Job.batch_id.in_(batch_ids))
        .group_by(Job.batch_id, Job.state)
    )
    for batch_id, state, jobs, progress in rows:
        assert batch_id is not None  # those without a batch are not selected
        by_state[batch_id][state] = jobs
        advanced[batch_id] += jobs if state.is_final else float(progress or 0.0)
    rejected = select(func.count()).where(BatchRejection.batch_id == Batch.id).scalar_subquery()
    announced = session.execute(select(Batch.id, Batch.expected, rejected).where(Batch.id.in_(batch_ids)))
    limits = {batch_id: (count_rejected, expected) for batch_id, expected, count_rejected in announced}
    return {
        batch_id: BatchCounts(by_state[batch_id], advanced[batch_id], *limits.get(batch_id, (0, None)))
        for batch_id in batch_ids
    }


def _digest_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
