"""Many pictures as one group."""

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from api.services import Services
from models import Job, JobState
from tests.unit.api.conftest import Opener
from tests.unit.api.samples import picture, submit


def _files(*entries: tuple[str, bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", entry) for entry in entries]


def test_bad_file_is_told_and_the_rest_go_on(client: TestClient) -> None:
    answer = client.post(
        "/v1/batches",
        files=_files(
            ("one.png", picture(1)),
            ("letter.jpg", b"Dear reader"),
            ("two.png", picture(2)),
            ("cut.png", picture()[:40]),
        ),
        data={"name": "spring", "options": '{"blocks": 8}'},
    )
    body = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (202, f"/v1/batches/{body['id']}")
    assert (body["name"], body["total"], body["counts"]["queued"], body["progress"]) == ("spring", 2, 2, 0.0)
    assert [entry["name"] for entry in body["images"]] == ["one.png", "two.png"]
    assert [(entry["name"], entry["code"]) for entry in body["rejected"]] == [
        ("letter.jpg", "picture_unrecognised"),
        ("cut.png", "picture_truncated"),
    ]
    listed = client.get(body["links"]["images"]).json()["items"]
    assert {image["name"] for image in listed} == {"one.png", "two.png"}
    assert {image["options"]["blocks"] for image in listed} == {8}
    assert {job["id"] for job in client.get(body["links"]["jobs"]).json()["items"]} == {
        e["job_id"] for e in body["images"]
    }


@pytest.mark.parametrize(
    ("files", "code"),
    [([b"x", b"y"], "picture_unrecognised"), ([b"", b"y"], "codec_error"), ([b""], "picture_empty")],
)
def test_nothing_but_bad_files_is_refused(
    client: TestClient, files: list[bytes], code: str, assert_nothing_left: Callable[[], None]
) -> None:
    answer = client.post("/v1/batches", files=_files(*[(f"{index}.png", data) for index, data in enumerate(files)]))
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert len(answer.json()["rejected"]) == len(files)
    assert_nothing_left()


def test_batch_counts_follow_its_jobs(client: TestClient, services: Services) -> None:
    body = client.post("/v1/batches", files=_files(*[(f"{n}.png", picture(n)) for n in range(4)])).json()
    with services.database.write() as session:
        for entry, state, progress in zip(
            body["images"], (JobState.SUCCEEDED, JobState.FAILED, JobState.RUNNING), (1.0, 0.2, 0.5), strict=False
        ):
            job = session.get(Job, entry["job_id"])
            assert job is not None
            job.state, job.progress = state, progress
    batch = client.get(f"/v1/batches/{body['id']}").json()
    assert batch["counts"] == {"queued": 1, "running": 1, "succeeded": 1, "failed": 1, "cancelled": 0}
    assert (batch["progress"], batch["is_done"]) == (pytest.approx((1 + 1 + 0.5) / 4), False)


def test_cancelled_batch_ends_what_waits_and_asks_what_runs(client: TestClient, services: Services) -> None:
    body = client.post("/v1/batches", files=_files(*[(f"{n}.png", picture(n)) for n in range(3)])).json()
    with services.database.write() as session:
        job = session.get(Job, body["images"][0]["job_id"])
        assert job is not None
        job.state = JobState.RUNNING
    answer = client.post(body["links"]["cancel"]).json()
    assert (answer["cancelled"], answer["stopping"]) == (2, 1)
    assert (answer["counts"]["cancelled"], answer["counts"]["running"]) == (2, 1)
    assert client.get(f"/v1/jobs/{job.id}").json()["cancel_requested"] is True
    assert len(client.get("/v1/images", params={"state": "cancelled"}).json()["items"]) == 2
    again = client.post(body["links"]["cancel"]).json()
    assert (again["cancelled"], again["stopping"]) == (0, 1)


def test_cancelled_batch_waits_for_no_more_pictures(client: TestClient) -> None:
    batch = client.post("/v1/batches", json={"name": "a", "expected": 5}).json()
    submit(client, batch_id=batch["id"])
    answer = client.post(batch["links"]["cancel"]).json()
    assert (answer["expected"], answer["is_done"], answer["progress"]) == (1, True, 1.0)


def test_batch_without_pictures_is_filled_by_uploads(client: TestClient) -> None:
    answer = client.post("/v1/batches", json={"name": "a/b\u0000c"})
    batch = answer.json()
    assert (answer.status_code, batch["name"], batch["total"], batch["is_done"]) == (201, "bc", 0, True)
    image = submit(client, batch_id=batch["id"])["image"]
    assert image["batch_id"] == batch["id"]
    assert client.get(answer.headers["location"]).json()["counts"]["queued"] == 1


@pytest.mark.parametrize(
    ("json", "status"), [({"name": 5}, 400), ({"title": "x"}, 400), ([], 400), ({"name": None}, 201), ({}, 201)]
)
def test_json_for_a_batch_is_checked(client: TestClient, json: object, status: int) -> None:
    assert client.post("/v1/batches", json=json).status_code == status


def test_batch_in_a_batch_is_refused(client: TestClient, assert_nothing_left: Callable[[], None]) -> None:
    answer = client.post("/v1/batches", files=_files(("a.png", picture())), data={"options": '{"batch_id": "bat_1"}'})
    assert (answer.status_code, answer.json()["code"]) == (400, "request_invalid")
    assert_nothing_left()


def test_more_files_than_are_taken_are_refused(open_client: Opener) -> None:
    client = open_client(max_batch_images=2)
    answer = client.post("/v1/batches", files=_files(*[(f"{n}.png", picture(n)) for n in range(3)]))
    assert (answer.status_code, answer.json()["code"]) == (413, "upload_too_large")
    assert client.get("/v1/images").json()["items"] == []


def test_batches_are_listed_newest_first_with_their_counts(client: TestClient) -> None:
    made = [client.post("/v1/batches", json={"name": name}).json()["id"] for name in ("spring", "autumn", "spring")]
    submit(client, picture(1), batch_id=made[0])
    first = client.get("/v1/batches", params={"limit": 2}).json()
    assert [batch["id"] for batch in first["items"]] == [made[2], made[1]]
    last = client.get("/v1/batches", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [(batch["id"], batch["total"]) for batch in last["items"]] == [(made[0], 1)]
    assert (last["next_cursor"], last["items"][0]["counts"]["queued"]) == (None, 1)
    assert last["items"][0] == client.get(f"/v1/batches/{made[0]}").json()
    named = client.get("/v1/batches", params={"name": "spring"}).json()["items"]
    assert [batch["id"] for batch in named] == [made[2], made[0]]


@pytest.mark.parametrize(("name", "value"), [("cursor", "img_x"), ("limit", "0"), ("name", ""), ("name", "a\0b")])
def test_list_of_batches_refuses_what_it_does_not_know(client: TestClient, name: str, value: str) -> None:
    assert client.get("/v1/batches", params={name: value}).json()["code"] == "request_invalid"
