"""What becomes of a job whose picture a language model describes, in every case the model or its server makes."""

import threading
from pathlib import Path
from typing import Any

import pytest

from core.jobs import transitions
from core.owners import quotas
from core.owners.quotas import BILLION, Limits
from models import ImageState, JobState
from tests.integration.describe.conftest import OpenDesk, one_database, picture
from tests.lmm_server.server import LMMTestServer

PRICES = {"price_input": 2.0, "price_output": 8.0}


def test_described_picture_is_stored_with_what_it_cost(open_desk: OpenDesk, lmm_server: LMMTestServer) -> None:
    desk = open_desk(**PRICES, api_key="sk-test")
    job, image = desk.run(desk.submit(picture(1)))
    assert (job.state, image.state) == (JobState.SUCCEEDED, ImageState.READY)
    assert image.description is not None
    assert image.description.describer == "openai"
    assert len(image.description.content["items"]) == 3
    assert image.notes == []
    usage = job.usage
    assert usage is not None
    assert (usage["model"], usage["input_tokens"], usage["cached"]) == ("played", 400, False)
    assert usage["cost"] == pytest.approx((400 * 2.0 + usage["output_tokens"] * 8.0) / 1e6)
    assert image.usage == usage
    assert image.seconds is not None
    assert {"describe", "locate", "coarse", "pack", "total"} <= set(image.seconds)
    assert image.seconds["describe"] >= usage["seconds"]
    assert lmm_server.asked()[0]["authorization"] == "Bearer sk-test"


def test_same_picture_is_bought_once_and_the_second_says_so(open_desk: OpenDesk, lmm_server: LMMTestServer) -> None:
    first, second = open_desk(), open_desk()
    _, bought = first.run(first.submit(picture(1)))
    job, image = second.run(second.submit(picture(1)))
    assert image.description is not None and bought.description is not None
    assert image.description.content == bought.description.content
    assert job.usage is not None and job.usage["cached"] is True
    assert len(lmm_server.asked()) == 1
    second.run(second.submit(picture(2)))
    assert len(lmm_server.asked()) == 2


def test_same_picture_at_two_workers_at_once_is_bought_once(open_desk: OpenDesk, lmm_server: LMMTestServer) -> None:
    lmm_server.play(then={"play": "good", "latency": 0.5})
    desks = [open_desk(), open_desk()]
    job_ids = [desks[number % 2].submit(picture(1)) for number in range(6)]
    threads = [threading.Thread(target=desks[number % 2].run, args=(job_id,)) for number, job_id in enumerate(job_ids)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ended = [desks[0].look(job_id) for job_id in job_ids]
    assert [job.state for job, _ in ended] == [JobState.SUCCEEDED] * 6
    assert sorted(job.usage["cached"] for job, _ in ended if job.usage) == [False] + [True] * 5
    assert len(lmm_server.asked()) == 1


def test_retry_after_the_description_was_bought_asks_nobody(
    open_desk: OpenDesk, lmm_server: LMMTestServer, tmp_path: Path
) -> None:
    desk = open_desk()
    job_id = desk.submit(picture(1))
    # A file where the streams' folder should be: nothing can be stored after the model has answered.
    obstacle = tmp_path / "objects" / "bitstreams"
    obstacle.touch()
    job, _ = desk.run(job_id)
    assert (job.state, job.attempts, job.error_code) == (JobState.QUEUED, 0, "storage_unavailable")
    assert job.usage is not None and job.usage["cached"] is False
    obstacle.unlink()
    with desk.database.write() as session:
        transitions.wake(session, [job_id])
    job, image = desk.run(job_id)
    assert (job.state, job.attempts) == (JobState.SUCCEEDED, 1)
    assert len(lmm_server.asked()) == 1
    assert job.usage is not None and job.usage["cached"] is False, "this job has paid, in its first attempt"
    assert image.usage == job.usage


CASES: dict[str, tuple[list[Any], str]] = {
    "refusal": (["refusal"], "refused"),
    "content filter": (["content_filter"], "filter"),
    "nonsense twice": (["broken_json", "broken_json"], ""),
    "another schema twice": (["wrong_schema", "wrong_schema"], ""),
    "key refused": ([{"play": "status", "status": 401}], "401"),
    "model unknown": ([{"play": "status", "status": 404}], "404"),
    "server failing": ([{"play": "status", "status": 500}] * 2, "500"),
}


@one_database
def test_model_that_gives_nothing_is_replaced_with_a_note(open_desk: OpenDesk, lmm_server: LMMTestServer) -> None:
    desk = open_desk(api_key="sk-secret")
    for seed, (case, (steps, hint)) in enumerate(CASES.items()):
        asked_before = len(lmm_server.asked())
        lmm_server.play(*steps)
        job, image = desk.run(desk.submit(picture(seed)))
        assert (job.state, image.state) == (JobState.SUCCEEDED, ImageState.READY), case
        assert image.description is not None and image.description.describer == "local", case
        assert image.notes is not None and len(image.notes) == 1, case
        assert hint in image.notes[0], case
        assert "sk-secret" not in image.notes[0], case
        assert len(lmm_server.asked()) - asked_before == len(steps), case


@one_database
def test_server_that_is_down_is_replaced_with_a_note(open_desk: OpenDesk) -> None:
    desk = open_desk(base_url="http://127.0.0.1:9/v1")
    job, image = desk.run(desk.submit(picture(1)))
    assert (job.state, image.description and image.description.describer) == (JobState.SUCCEEDED, "local")
    assert image.notes is not None and len(image.notes) == 1


@one_database
def test_fallback_none_stores_the_picture_without_texts(open_desk: OpenDesk, lmm_server: LMMTestServer) -> None:
    lmm_server.play("refusal")
    desk = open_desk(fallback="none")
    job, image = desk.run(desk.submit(picture(1)))
    assert (job.state, image.description and image.description.describer) == (JobState.SUCCEEDED, "none")
    assert image.bits is not None and image.bits["text"] == 0
    assert image.notes is not None and len(image.notes) == 1


@one_database
@pytest.mark.parametrize(
    ("step", "code"),
    [("refusal", "description_refused"), ({"play": "status", "status": 401}, "describer_misconfigured")],
)
def test_fallback_fail_ends_the_job_with_the_describers_code(
    open_desk: OpenDesk, lmm_server: LMMTestServer, step: Any, code: str
) -> None:
    lmm_server.play(step)
    desk = open_desk(fallback="fail")
    job, image = desk.run(desk.submit(picture(1)))
    assert (job.state, job.error_code, image.state) == (JobState.FAILED, code, ImageState.FAILED)
    assert image.original_key is not None, "the original stays where no stream was made of it"


def test_exhausted_budget_is_replaced_with_a_note_and_never_overshot(
    open_desk: OpenDesk, lmm_server: LMMTestServer
) -> None:
    lmm_server.play(then={"play": "good", "latency": 0.2})
    # A request is reserved for at up to about 0.005 and costs 0.0016.
    desk = open_desk(**PRICES, spending_cap=0.01, spending_period="day", timeout=3)
    job_ids = [desk.submit(picture(seed)) for seed in range(12)]
    threads = [threading.Thread(target=desk.run, args=(job_id,)) for job_id in job_ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ended = [desk.look(job_id) for job_id in job_ids]
    assert [job.state for job, _ in ended] == [JobState.SUCCEEDED] * 12
    spent = sum(job.usage["cost"] for job, _ in ended if job.usage)
    assert 0.005 < spent <= 0.01
    replaced = [image for job, image in ended if job.usage is None]
    assert len(replaced) == 12 - len(lmm_server.asked()) > 0
    for image in replaced:
        assert image.description is not None and image.description.describer == "local"
        assert image.notes is not None and "MISC_LMM_SPENDING_CAP" in image.notes[0]


@one_database
def test_settings_that_cannot_be_used_harm_only_what_needs_the_model(open_desk: OpenDesk) -> None:
    desk = open_desk(base_url="nowhere")
    job, image = desk.run(desk.submit(picture(1)))
    assert (job.state, image.description and image.description.describer) == (JobState.SUCCEEDED, "local")
    assert image.notes is not None and "MISC_LMM_BASE_URL" in image.notes[0]
    job, image = desk.run(desk.submit(picture(2), describe="local"))
    assert (job.state, image.notes) == (JobState.SUCCEEDED, [])


@one_database
def test_model_that_is_not_configured_fails_the_job_with_what_to_set(open_desk: OpenDesk) -> None:
    desk = open_desk(base_url=None)
    job, _ = desk.run(desk.submit(picture(1)))
    assert (job.state, job.error_code) == (JobState.FAILED, "feature_unavailable")
    assert "MISC_LMM_API_KEY" in (job.error_message or "")


@one_database
def test_nothing_is_bought_for_what_cannot_be_encoded_here(open_desk: OpenDesk, lmm_server: LMMTestServer) -> None:
    desk = open_desk()
    job, _ = desk.run(desk.submit(picture(1), mode="net", network="absent"))
    assert (job.state, job.error_code) == (JobState.FAILED, "weights_missing")
    assert lmm_server.asked() == []


@one_database
def test_large_picture_is_let_go_while_the_model_is_asked_and_encoded_whole(
    open_desk: OpenDesk, lmm_server: LMMTestServer
) -> None:
    desk = open_desk()
    job, image = desk.run(desk.submit(picture(1, width=1300, height=900)))
    assert job.state == JobState.SUCCEEDED
    assert (image.width, image.height) == (1300, 900)
    assert image.description is not None and image.description.describer == "openai"


@one_database
@pytest.mark.parametrize("codec", ["avif", "webp", "jxl", "jpeg"])
def test_reference_of_every_codec_is_verified_whatever_its_wrapper(open_desk: OpenDesk, codec: str) -> None:
    desk = open_desk()
    job, image = desk.run(desk.submit(picture(1), describe="none", mode="ref", codec=codec))
    assert (job.state, image.mode) == (JobState.SUCCEEDED, "ref"), job.error_message


def test_owner_pays_for_its_own_and_learns_nothing_of_others(open_desk: OpenDesk, lmm_server: LMMTestServer) -> None:
    desk = open_desk(**PRICES, fallback="local")
    ended = [desk.run(desk.submit(picture(1), owner)) for owner in ("default", "alice", "bob", "alice")]
    assert [job.usage["cached"] for job, _ in ended if job.usage] == [False, False, False, True]
    assert len(lmm_server.asked()) == 3
    spent: dict[str, int] = {}
    with desk.database.read() as session:
        for owner in ("default", "alice", "bob"):
            usage = quotas.standing_of(session, owner).usage
            assert usage.reserved == 0
            spent[owner] = usage.spent
    assert ended[0][0].usage is not None
    assert set(spent.values()) == {quotas.billionths(ended[0][0].usage["cost"])}

    with desk.database.write() as session:
        quotas.set_limits(session, "alice", Limits(money=spent["alice"] + BILLION // 1_000_000))
    job, image = desk.run(desk.submit(picture(2), "alice"))
    assert job.state == JobState.SUCCEEDED and image.description is not None
    assert image.description.describer == "local" and "quota of money" in " ".join(image.notes or [])
    assert len(lmm_server.asked()) == 3
    job, _ = desk.run(desk.submit(picture(2), "bob"))
    assert job.usage is not None and len(lmm_server.asked()) == 4
