"""Batches: images followed as one group. Counts come from the jobs, so they cannot disagree with them."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.errors import NotFound
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


def create(session: Session, name: str | None) -> Batch:
    """A batch without images."""
    batch = Batch(id=new_id("bat"), name=name)
    session.add(batch)
    session.flush()
    return batch


def get(session: Session, batch_id: str) -> Batch:
    """The batch; raises NotFound."""
    batch = session.get(Batch, batch_id)
    if batch is None:
        raise NotFound(f"There is no batch {batch_id!r}.")
    return batch


def count(session: Session, batch_id: str) -> BatchCounts:
    """Counts and progress of a batch."""
    by_state = dict.fromkeys(JobState, 0)
    advanced = 0.0
    rows = session.execute(
        select(Job.state, func.count(), func.sum(Job.progress)).where(Job.batch_id == batch_id).group_by(Job.state)
    )
    for state, jobs, progress in rows:
        by_state[state] = jobs
        advanced += jobs if state.is_final else float(progress or 0.0)
    total = sum(by_state.values())
    return BatchCounts(total, by_state, advanced / total if total else 1.0)
