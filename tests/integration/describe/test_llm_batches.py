"""The Batch API in the service: jobs wait without a worker, lots survive any death, what fails is asked directly."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from core.archive import deletions
from core.database import Database
from core.describing import llm_batches
from core.describing.dispatcher import BatchDispatcher
from core.jobs import transitions
from models import DescriptionRequest, Image, Job, JobState, LLMBatch, OutboxRow, PendingDeletion, Spending
from models.base import utc_now
from tests.integration.describe.conftest import Desk, OpenDesk, one_database, picture
from tests.lmm_server.server import LMMTestServer

PRICES = {"price_input": 2.0, "price_output": 8.0}
LATER = timedelta(days=2)


@pytest.fixture
def desk(open_desk: OpenDesk) -> Desk:
    """Gathers at once; passes are made by the tests."""
    return open_desk(batch_gather_count=1, batch_poll=3600, **PRICES)


def _carrier(desk: Desk) -> BatchDispatcher:
    desk.handlers.warm_up(["encode"])
    carrier = desk.handlers._dispatcher
    assert carrier is not None
    return carrier


def _wait_for_batch(desk: Desk, seeds: range) -> list[str]:
    """Hand pictures in and have their jobs put off."""
    job_ids = [desk.submit(picture(seed), batch=True) for seed in seeds]
    for job_id in job_ids:
        job, _ = desk.run(job_id)
        assert (job.state, job.stage, job.attempts) == (JobState.QUEUED, "describe", 0)
    return job_ids


def _count(database: Database, table: Any) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def _ended(desk: Desk, job_ids: list[str]) -> list[tuple[Job, Image]]:
    """Do the jobs, which must be due and succeed."""
    ended = [desk.run(job_id) for job_id in job_ids]
    assert [job.state for job, _ in ended] == [JobState.SUCCEEDED] * len(job_ids)
    return ended


def _created(server: LMMTestServer) -> int:
    return len([entry for entry in server.asked("/v1/batches") if entry["method"] == "POST"])


def test_jobs_are_put_off_and_end_with_answers_at_half_price(desk: Desk, lmm_server: LMMTestServer) -> None:
    lmm_server.state.set_script({"batch": {"polls": 1}})
    job_ids = _wait_for_batch(desk, range(3))
    assert desk.run(job_ids[0])[0].state == JobState.QUEUED, "it is not due and cannot be claimed"
    carrier = _carrier(desk)
    carrier.make_pass()
    assert _created(lmm_server) == 1
    assert desk.run(job_ids[0])[0].state == JobState.QUEUED, "the batch is under way"
    carrier.make_pass()
    ended = _ended(desk, job_ids)
    assert lmm_server.asked() == [], "nobody was asked directly"
    for job, image in ended:
        assert image.description is not None and image.description.describer == "openai"
        usage = job.usage
        assert usage is not None and usage["cached"] is False
        assert usage["cost"] == pytest.approx((400 * 2.0 + usage["output_tokens"] * 8.0) / 1e6 / 2)
        assert (job.attempts, image.usage) == (1, usage)
    assert _count(desk.database, DescriptionRequest) == 0
    assert lmm_server.state.files == {}, "nothing is left on the server"


def test_lot_whose_lines_are_gone_ends_and_stops_no_other(desk: Desk, lmm_server: LMMTestServer) -> None:
    (lost,) = _wait_for_batch(desk, range(1))
    with desk.database.read() as session:
        desk.storage.delete(session.scalars(select(DescriptionRequest.object_key)).one())
    carrier = _carrier(desk)
    carrier.make_pass()
    assert _created(lmm_server) == 0
    (other,) = _wait_for_batch(desk, range(1, 2))
    carrier.make_pass()
    carrier.make_pass()
    _ended(desk, [lost, other])
    assert _created(lmm_server) == 1
    assert len(lmm_server.asked()) == 1, "the one whose line was gone was asked directly"


def test_lines_are_swept_after_the_lot_and_not_before(desk: Desk, lmm_server: LMMTestServer) -> None:
    lmm_server.state.set_script({"batch": {"polls": 1}})
    _wait_for_batch(desk, range(1))
    keys = [info.key for info in desk.storage.list("requests/")]
    assert len(keys) == 1
    carrier = _carrier(desk)
    carrier.make_pass()
    with desk.database.read() as session:
        assert keys[0] not in session.scalars(select(PendingDeletion.key)).all()
    carrier.make_pass()
    deletions.sweep(desk.database, desk.storage, now=utc_now() + LATER)
    assert list(desk.storage.list("requests/")) == []


def test_same_picture_waits_once_and_its_jobs_end_together(desk: Desk, lmm_server: LMMTestServer) -> None:
    lmm_server.state.set_script({"batch": {"polls": 0}})
    job_ids = [desk.submit(picture(1), batch=True) for _ in range(3)]
    for job_id in job_ids:
        desk.run(job_id)
    assert _count(desk.database, DescriptionRequest) == 1
    _carrier(desk).make_pass()
    ended = _ended(desk, job_ids)
    assert sorted(job.usage["cached"] for job, _ in ended if job.usage) == [False, True, True]
    later, _ = desk.run(desk.submit(picture(1), batch=True))
    assert later.state == JobState.SUCCEEDED, "what is in the book waits for nothing"


def test_requests_that_failed_are_asked_directly_at_full_price(desk: Desk, lmm_server: LMMTestServer) -> None:
    fates = {"1": "missing", "2": "expired", "3": "broken", "4": "500"}
    lmm_server.state.set_script({"batch": {"polls": 0, "lines": fates}})
    job_ids = _wait_for_batch(desk, range(5))
    _carrier(desk).make_pass()
    ended = _ended(desk, job_ids)
    assert len(lmm_server.asked()) == len(fates)
    assert {image.description.describer for _, image in ended if image.description} == {"openai"}
    costs = sorted(job.usage["cost"] for job, _ in ended if job.usage)
    assert costs[1:] == pytest.approx([2 * costs[0]] * len(fates), rel=0.1)


@one_database
def test_batches_that_end_without_results_wake_all_their_jobs(desk: Desk, lmm_server: LMMTestServer) -> None:
    for number, end in enumerate(("failed", "expired", "cancelled")):
        lmm_server.state.set_script({"batch": {"polls": 0, "end": end, "every_line": "missing"}})
        job_ids = _wait_for_batch(desk, range(2 * number, 2 * number + 2))
        _carrier(desk).make_pass()
        _ended(desk, job_ids)
        assert len(lmm_server.asked()) == 2 * number + 2
        assert llm_batches.open_batches(desk.database) == []


@one_database
def test_batch_that_was_made_unheard_is_found_and_not_made_again(
    open_desk: OpenDesk, lmm_server: LMMTestServer
) -> None:
    desk = open_desk(batch_gather_count=1, batch_poll=3600, attempts=1)
    lmm_server.state.set_script({"batch": {"polls": 0, "reset_after_create": True}})
    job_ids = _wait_for_batch(desk, range(2))
    _carrier(desk).make_pass()
    (lot,) = llm_batches.open_batches(desk.database)
    assert (lot.file_id is not None, lot.batch_id) == (True, None)
    # As if that process had died, another one goes on.
    other = open_desk(batch_gather_count=1, batch_poll=3600)
    _carrier(other).make_pass()
    _ended(other, job_ids)
    assert _created(lmm_server) == 1


def test_lot_of_a_process_that_died_at_any_step_is_carried_on(open_desk: OpenDesk, lmm_server: LMMTestServer) -> None:
    lmm_server.state.set_script({"batch": {"polls": 0}})
    desk = open_desk(batch_gather_count=1, batch_poll=3600)
    job_ids = _wait_for_batch(desk, range(2))
    carrier = _carrier(desk)
    carrier._gather()
    (lot,) = llm_batches.open_batches(desk.database)
    file_id = carrier._upload(lot)
    batch_id = desk.handlers._resources.batches.create(file_id, lambda: False)  # type: ignore[union-attr]
    # It died here, before the batch's name was written down and in the middle of its claim.
    assert llm_batches.claim(desk.database, lot.id, "dead", timedelta(seconds=30))
    other = _carrier(open_desk(batch_gather_count=1, batch_poll=3600))
    other.make_pass()
    assert llm_batches.open_batches(desk.database)[0].batch_id is None, "the claim of the dead still holds"
    assert llm_batches.claim(desk.database, lot.id, "dead", timedelta(seconds=-1))
    other.make_pass()
    _ended(desk, job_ids)
    assert _created(lmm_server) == 1
    with desk.database.read() as session:
        assert session.scalars(select(LLMBatch.batch_id)).all() == [batch_id]


def test_many_carriers_at_once_make_one_batch(open_desk: OpenDesk, lmm_server: LMMTestServer) -> None:
    lmm_server.state.set_script({"batch": {"polls": 3}})
    desks = [open_desk(batch_gather_count=1, batch_poll=3600) for _ in range(4)]
    job_ids = _wait_for_batch(desks[0], range(3))
    carriers = [_carrier(desk) for desk in desks]
    for _ in range(6):
        _at_once([carrier.make_pass for carrier in carriers])
    _ended(desks[0], job_ids)
    assert _created(lmm_server) == 1
    assert lmm_server.asked() == []


@one_database
def test_results_that_nobody_asked_for_are_not_believed(desk: Desk, lmm_server: LMMTestServer) -> None:
    lmm_server.state.set_script({"batch": {"polls": 0}})
    job_ids = _wait_for_batch(desk, range(1))
    carrier = _carrier(desk)
    carrier._gather()
    (lot,) = llm_batches.open_batches(desk.database)
    with desk.database.write() as session:
        # The server answers a key that another lot has.
        other = LLMBatch(id="lot_other")
        session.add(other)
        session.flush()
        session.execute(update(DescriptionRequest).values(lot_id=other.id))
    llm_batches.record_sent(desk.database, lot.id, file_id=_upload_again(desk))
    carrier._advance(llm_batches.open_batches(desk.database)[0])
    assert _count(desk.database, DescriptionRequest) == 1
    assert desk.look(job_ids[0])[0].state == JobState.QUEUED


@one_database
def test_overdue_job_asks_directly(desk: Desk, lmm_server: LMMTestServer) -> None:
    lmm_server.state.set_script({"batch": {"polls": 1000}})
    (job_id,) = _wait_for_batch(desk, range(1))
    _carrier(desk).make_pass()
    with desk.database.write() as session:
        session.execute(update(Job).where(Job.id == job_id).values(due_at=utc_now()))
    _ended(desk, [job_id])
    assert len(lmm_server.asked()) == 1


@one_database
def test_requests_wait_for_others_until_they_are_many_or_old(open_desk: OpenDesk, lmm_server: LMMTestServer) -> None:
    lmm_server.state.set_script({"batch": {"polls": 0}})
    desk = open_desk(batch_gather_count=3, batch_gather_age=600, batch_poll=3600)
    first = _wait_for_batch(desk, range(2))
    carrier = _carrier(desk)
    carrier.make_pass()
    assert _created(lmm_server) == 0
    first += _wait_for_batch(desk, range(2, 3))
    carrier.make_pass()
    assert _created(lmm_server) == 1
    _ended(desk, first)
    late = _wait_for_batch(desk, range(3, 4))
    carrier.make_pass()
    assert _created(lmm_server) == 1
    with desk.database.write() as session:
        session.execute(update(DescriptionRequest).values(created_at=utc_now() - timedelta(seconds=601)))
    carrier.make_pass()
    _ended(desk, late)
    assert _created(lmm_server) == 2


def test_cancelled_jobs_are_not_paid_for(desk: Desk, lmm_server: LMMTestServer) -> None:
    lmm_server.state.set_script({"batch": {"polls": 0}})
    job_ids = _wait_for_batch(desk, range(2))
    with desk.database.write() as session:
        assert transitions.cancel(session, job_ids[0]).state == JobState.CANCELLED
    _carrier(desk).make_pass()
    _ended(desk, job_ids[1:])
    assert [batch.values["request_counts"]["total"] for batch in lmm_server.state.batches.values()] == [1]
    assert desk.look(job_ids[0])[0].state == JobState.CANCELLED


def test_woken_job_has_its_wake_up_enqueued_now(desk: Desk, lmm_server: LMMTestServer) -> None:
    lmm_server.state.set_script({"batch": {"polls": 0}})
    (job_id,) = _wait_for_batch(desk, range(1))

    def due() -> list[Any]:
        with desk.database.read() as session:
            rows = session.execute(select(OutboxRow.due_at).where(OutboxRow.job_id == job_id)).scalars()
            return [moment > utc_now() for moment in rows]

    # The wake-up of its creation was never sent in this test.
    assert sorted(due()) == [False, True]
    _carrier(desk).make_pass()
    assert due() == [False]


def test_budget_holds_for_lots_and_counts_what_they_cost(open_desk: OpenDesk, lmm_server: LMMTestServer) -> None:
    lmm_server.state.set_script({"batch": {"polls": 0}})
    desk = open_desk(batch_gather_count=1, batch_poll=3600, **PRICES, spending_cap=0.02)
    job_ids = _wait_for_batch(desk, range(3))
    _carrier(desk).make_pass()
    ended = _ended(desk, job_ids)
    spent = sum(job.usage["cost"] for job, _ in ended if job.usage)
    with desk.database.read() as session:
        row = session.scalars(select(Spending)).one()
    assert (row.reserved, row.spent / 1e9) == (0, pytest.approx(spent, abs=1e-7))

    # The next lot could cost more than what is left: its jobs are told so, one by one.
    with desk.database.write() as session:
        session.execute(update(Spending).values(spent=20_000_000))
    late = _wait_for_batch(desk, range(3, 5))
    _carrier(desk).make_pass()
    for _, image in _ended(desk, late):
        assert image.notes is not None and "MISC_LMM_SPENDING_CAP" in image.notes[0]
    assert _created(lmm_server) == 1


@one_database
def test_server_without_a_batch_api_is_asked_directly(open_desk: OpenDesk, lmm_server: LMMTestServer) -> None:
    desk = open_desk(batch_gather_count=1, batch_poll=3600)
    job_ids = _wait_for_batch(desk, range(1))
    carrier = _carrier(desk)
    carrier._gather()
    (lot,) = llm_batches.open_batches(desk.database)
    # A file that the server does not know is refused as every request is where there are no batches.
    llm_batches.record_sent(desk.database, lot.id, file_id="file-of-nobody")
    carrier.make_pass()
    _ended(desk, job_ids)
    assert len(lmm_server.asked()) == 1


@pytest.mark.parametrize("batch", [{"refuse": 403}, {"end": "failed"}, {"end": "expired", "every_line": "expired"}])
def test_nothing_is_left_at_the_provider_however_a_batch_ends(
    desk: Desk, lmm_server: LMMTestServer, batch: dict[str, object]
) -> None:
    lmm_server.state.set_script({"batch": {"polls": 0} | batch})
    job_ids = _wait_for_batch(desk, range(1))
    carrier = _carrier(desk)
    for _ in range(3):
        carrier.make_pass()
    _ended(desk, job_ids)
    assert any(entry["method"] == "POST" for entry in lmm_server.asked("/v1/files"))
    assert lmm_server.state.files == {}


def _upload_again(desk: Desk) -> str:
    (info,) = desk.storage.list("requests/")
    line = desk.storage.get(info.key, max_bytes=1 << 24)
    return desk.handlers._resources.batches.upload([line], lambda: False)  # type: ignore[union-attr]


def _at_once(calls: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
