"""Claims of a named job, for tests whose subject is that job: a worker takes the one whose turn it is."""

from datetime import timedelta

from sqlalchemy import select, update

from core.clock import database_now
from core.database import Database
from core.jobs import claims
from core.jobs.job import Claim
from models import Job, JobState

_LONG_AGO = timedelta(days=-1000)


def bring_forward(database: Database, job_id: str) -> str:
    """Have the job, where it is due, be the next of its queue and priority; returns the queue."""
    with database.write() as session:
        is_due = (Job.id == job_id, Job.state == JobState.QUEUED, Job.due_at <= database_now())
        session.execute(update(Job).where(*is_due).values(due_at=database_now(_LONG_AGO)))
        # The column alone: the kind of a row may be one that this version does not know.
        return session.scalars(select(Job.queue).where(Job.id == job_id)).one()


def claim_job(database: Database, job_id: str, worker: str, lease: timedelta) -> Claim | None:
    """As `claims.claim`, of this job."""
    claim = claims.claim(database, bring_forward(database, job_id), worker, lease)
    assert claim is None or claim.job_id == job_id
    return claim
