"""Batches: images followed as one group. Counts come from the jobs, so they cannot disagree with them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.errors import NotFound
from core.owners.view import View
from core.paging import Page
from models.base import new_id
from models.batch import Batch
from models.job import Job, JobState


@dataclass(frozen=True)
class BatchCounts:
    """How the jobs of a batch stand. `progress` is in [0, 1] and counts running jobs by their own progress."""

    total: int
    by_state: dict[JobState, int]
    progress: float

    @property
    def is_done(self) -> bool:
        """True when every job has ended, in whatever way."""
        return sum(count for state, count in self.by_state.items() if state.is_final) == self.total


def create(session: Session, name: str | None, owner: str) -> Batch:
    """A batch without images."""
    batch = Batch(id=new_id("bat"), name=name, owner=owner)
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
    if before is not None:
        query = query.where(Batch.id < before)
    if name is not None:
        query = query.where(Batch.name == name)
    rows = list(session.scalars(query.order_by(Batch.id.desc()).limit(limit + 1)))
    return Page(rows[:limit], rows[limit - 1].id if len(rows) > limit else None)


def count(session: Session, batch_id: str) -> BatchCounts:
    """Counts and progress of a batch."""
    return count_each(session, [batch_id])[batch_id]


def count_each(session: Session, batch_ids: Sequence[str]) -> dict[str, BatchCounts]:
    """Counts and progress by batch, in one query."""
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
    totals = {batch_id: sum(counts.values()) for batch_id, counts in by_state.items()}
    return {
        batch_id: BatchCounts(total, by_state[batch_id], advanced[batch_id] / total if total else 1.0)
        for batch_id, total in totals.items()
    }
