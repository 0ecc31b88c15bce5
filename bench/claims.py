"""How long a claim takes while many jobs wait: `python -m bench.claims --url sqlite:////tmp/claims.db --jobs 200000`.

Fills an empty database with bulk jobs, claims some of them, then interactive jobs that come in between, and prints the
times of single claims and how the database finds a job.
"""

import argparse
import time
from datetime import timedelta
from typing import cast

from sqlalchemy import Table, insert, select, text

from core.broker import ENCODE
from core.database import Database
from core.jobs import claims, transitions
from core.jobs.job import JobSpec
from core.settings import DatabaseSettings
from migrations.upgrade import upgrade
from models.base import new_id, utc_now
from models.job import Job, JobKind, JobPriority

_AT_ONCE = 5000
_LEASE = timedelta(minutes=10)
_JOBS = cast(Table, Job.__table__)


def main() -> None:
    """Fill, claim, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.claims", description=__doc__)
    parser.add_argument("--url", required=True, help="an empty database, as in MISC_DATABASE_URL")
    parser.add_argument("--jobs", type=int, default=200_000)
    parser.add_argument("--claims", type=int, default=500)
    arguments = parser.parse_args()
    settings = DatabaseSettings(url=arguments.url)
    upgrade(settings)
    database = Database(settings)
    started = time.perf_counter()
    _fill(database, arguments.jobs)
    print(f"{arguments.jobs} jobs in {time.perf_counter() - started:.1f} s")
    bulk = [_claimed(database, JobPriority.BULK) for _ in range(arguments.claims)]
    print(f"bulk, no interactive one there: {_words(bulk)}")
    interactive = []
    for _ in range(arguments.claims):
        with database.write() as session:
            transitions.create(session, JobSpec(JobKind.PROBE, ENCODE))
        interactive.append(_claimed(database, JobPriority.INTERACTIVE))
    print(f"interactive, the only one: {_words(interactive)}")
    for line in _plan(database):
        print(f"  {line}")
    database.close()


def _fill(database: Database, jobs: int) -> None:
    """Many copies of one job: of a job that is made alone, the outbox and the checks cost more than its row."""
    with database.write() as session:
        first = transitions.create(session, JobSpec(JobKind.PROBE, ENCODE, priority=JobPriority.BULK))
        row = dict(session.execute(select(_JOBS).where(_JOBS.c.id == first)).one()._mapping)
    for start in range(1, jobs, _AT_ONCE):
        with database.write() as session:
            count = min(_AT_ONCE, jobs - start)
            session.execute(insert(_JOBS), [row | {"id": new_id("job"), "due_at": utc_now()} for _ in range(count)])
    with database.connection() as connection:
        connection.execute(text("ANALYZE"))


def _claimed(database: Database, expected: JobPriority) -> float:
    """The seconds of one claim, looking for interactive jobs first."""
    started = time.perf_counter()
    claim = claims.claim(database, ENCODE, "bench", _LEASE)
    seconds = time.perf_counter() - started
    if claim is None or claim.priority != expected:
        raise SystemExit(f"A {expected} job was to be claimed, not {claim}.")
    return seconds


def _words(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    middle, late = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
    return f"p50 {middle * 1e3:.2f} ms, p99 {late * 1e3:.2f} ms"


def _plan(database: Database) -> list[str]:
    """How the database finds the job of one priority."""
    is_sqlite = database.engine.dialect.name == "sqlite"
    wanted = claims.longest_due("wanted").params(from_queue=ENCODE, wanted=JobPriority.BULK)
    found = wanted.compile(database.engine, compile_kwargs={"literal_binds": True})
    # The driver takes a percent sign for the beginning of a parameter.
    statement = str(found).replace("%%", "%")
    with database.engine.connect() as connection:
        rows = connection.exec_driver_sql(f"EXPLAIN {'QUERY PLAN ' if is_sqlite else ''}{statement}")
        return [str(row[-1]) for row in rows]


if __name__ == "__main__":
    main()
