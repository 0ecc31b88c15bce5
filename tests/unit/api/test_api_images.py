"""Handing in, listing, looking, fetching and deleting images."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete, func, select

from api.services import Services
from core.archive import deletions, images, object_lifecycle
from core.database import Database
from core.errors import DatabaseUnavailable, StorageUnavailable
from core.storage.keys import original_key
from models import Image, Job, JobState, OutboxRow, PendingDeletion
from models.stored_object import ObjectKind, StoredObject
from tests.unit.api.samples import picture, stream, submit


def _taken_in(client: TestClient, shade: int = 3) -> str:
    answer = client.post("/v1/bitstreams", content=stream(shade), params={"name": "boat.misc"})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["image"]["id"])


def test_upload_is_answered_with_image_and_queued_job(client: TestClient) -> None:
    data = picture(1, (30, 20))
    answer = client.post(
        "/v1/images",
        files={"file": ("boat.jpg", data)},
        data={"options": json.dumps({"blocks": 16, "keep_original": True})},
    )
    body = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{body['job']['id']}"
    image = body["image"]
    assert (image["name"], image["state"], image["width"], image["height"]) == ("boat.jpg", "pending", 30, 20)
    # What it is decides, not what it is called.
    assert image["media_type"] == "image/png"
    assert image["original"] == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "is_kept": True}
    assert (image["options"]["blocks"], image["options"]["level"], image["keep_original"]) == (16, 3, True)
    assert "keep_original" not in image["options"]
    job = body["job"]
    assert (job["kind"], job["queue"], job["state"], job["attempts"], job["progress"]) == (
        "encode",
        "encode",
        "queued",
        0,
        0,
    )
    assert job["image_id"] == image["id"]


def test_upload_lies_in_storage_with_its_wake_up_promised(
    client: TestClient, database: Database, objects_folder: Path, temporary_folder: Path
) -> None:
    data = picture(2)
    body = submit(client, data)
    files = [path for path in objects_folder.rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in files] == [data]
    assert files[0].name == f"{hashlib.sha256(data).hexdigest()}.png"
    with database.read() as session:
        assert session.scalars(select(OutboxRow.job_id)).all() == [body["job"]["id"]]
        assert session.scalar(select(func.count()).select_from(PendingDeletion)) == 0
    assert list(temporary_folder.iterdir()) == []


def test_upload_carries_the_request_id_to_its_job(client: TestClient) -> None:
    answer = client.post("/v1/images", files={"file": ("a.png", picture())}, headers={"X-Request-ID": "my-trace.1"})
    assert answer.headers["x-request-id"] == "my-trace.1"
    assert answer.json()["job"]["request_id"] == "my-trace.1"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\pictures\\boat.png", "boat.png"),
        ("boat\u202egnp.png", "boatgnp.png"),
        ("..", "picture"),
        ("海辺の舟.png", "海辺の舟.png"),
        ("x" * 300 + ".jpeg", "x" * 250 + ".jpeg"),
    ],
)
def test_file_name_is_kept_without_paths_and_tricks(client: TestClient, given: str, kept: str) -> None:
    assert submit(client, name=given)["image"]["name"] == kept


def test_storage_that_fails_leaves_nothing(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch, assert_nothing_left: Callable[[], None]
) -> None:
    def _full(*_: object, **__: object) -> None:
        raise StorageUnavailable("the disk of /srv/secret is full")

    monkeypatch.setattr(services.storage, "put", _full)
    answer = client.post("/v1/images", files={"file": ("a.png", picture())})
    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
    assert "/srv/secret" not in answer.text
    assert answer.headers["retry-after"] == "5"
    assert_nothing_left()


def test_transaction_that_fails_takes_the_original_away_again(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, assert_nothing_left: Callable[[], None]
) -> None:
    def _break(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(images.transitions, "create", _break)
    with pytest.raises(RuntimeError):
        client.post("/v1/images", files={"file": ("a.png", picture())})
    assert_nothing_left()


def test_database_lost_at_commit_leaves_the_original_to_the_sweep(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch, objects_folder: Path
) -> None:
    def _lose(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("the connection was lost")

    monkeypatch.setattr(images.transitions, "create", _lose)
    answer = client.post("/v1/images", files={"file": ("a.png", picture())})
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert "nothing was changed" not in answer.text
    assert len(list(objects_folder.rglob("*.png"))) == 1
    later = object_lifecycle.utc_now() + object_lifecycle.RESERVATION
    assert deletions.sweep(services.database, services.storage, now=later) == 1
    assert [path for path in objects_folder.rglob("*") if path.is_file()] == []


def test_list_goes_on_by_cursor_without_gaps_while_images_are_added(client: TestClient) -> None:
    names = [f"{number}.png" for number in range(5)]
    for name in names:
        submit(client, name=name)
    first = client.get("/v1/images", params={"limit": 2}).json()
    submit(client, name="late.png")
    second = client.get("/v1/images", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    third = client.get("/v1/images", params={"limit": 2, "cursor": second["next_cursor"]}).json()
    seen = [image["name"] for page in (first, second, third) for image in page["items"]]
    assert seen == names[::-1]
    assert third["next_cursor"] is None
    assert all(image["job"]["image_id"] == image["id"] for image in first["items"])


def test_list_is_filtered_by_state(client: TestClient) -> None:
    submit(client)
    ready = _taken_in(client)
    assert [image["id"] for image in client.get("/v1/images", params={"state": "ready"}).json()["items"]] == [ready]
    assert len(client.get("/v1/images", params={"state": "pending"}).json()["items"]) == 1
    assert client.get("/v1/images", params={"state": "failed"}).json() == {"items": [], "next_cursor": None}


def test_detail_tells_breakdown_description_and_maps(client: TestClient) -> None:
    image = client.get(f"/v1/images/{_taken_in(client)}").json()
    assert sum(image["bits"].values()) == 8 * image["bitstream_bytes"] == 8 * len(stream())
    assert image["bpp"] == pytest.approx(len(stream()) * 8 / (640 * 480), rel=1e-12)
    assert (image["mode"], image["external"], image["state"], image["width"]) == ("pixel", False, "ready", 640)
    assert image["description"]["items"][0] == {"name": "", "detail": "a red boat"}
    assert image["description"]["overall"] == "A red boat on calm water under a grey sky."
    assert image["maps"][0] == ["11111111"] * 4 + ["00000000"] * 4
    assert image["links"]["bitstream"] == f"/v1/images/{image['id']}/bitstream"
    assert image["reconstructions"] == []


def test_original_is_fetched_byte_for_byte(client: TestClient) -> None:
    data = picture(5)
    image = submit(client, data, name="ours.jpg", keep_original=True)["image"]
    answer = client.get(image["links"]["original"])
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, data, "image/png")
    assert answer.headers["content-disposition"].startswith("inline")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_original_that_is_gone_is_not_found(client: TestClient) -> None:
    answer = client.get(f"/v1/images/{_taken_in(client)}/original")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_deleted_image_takes_its_jobs_and_objects_along(
    client: TestClient, services: Services, assert_nothing_left: Callable[..., None]
) -> None:
    body = submit(client)
    assert client.delete(f"/v1/images/{body['image']['id']}").status_code == 204
    assert client.get(f"/v1/images/{body['image']['id']}").status_code == 404
    assert client.get(f"/v1/jobs/{body['job']['id']}").status_code == 404
    assert client.delete(f"/v1/images/{body['image']['id']}").status_code == 404
    assert deletions.sweep(services.database, services.storage) == 1
    with services.database.write() as session:
        session.execute(OutboxRow.__table__.delete())
    # What a day's quota counts is not given back.
    assert_nothing_left(but="daily_usage")


def test_deleted_image_leaves_a_stream_that_another_has(client: TestClient, services: Services) -> None:
    first = submit(client)["image"]["id"]
    second = _taken_in(client)
    with services.database.write() as session:
        mine, theirs = session.get(Image, first), session.get(Image, second)
        assert mine is not None and theirs is not None
        mine.bitstream_sha256, mine.bitstream_bytes = theirs.bitstream_sha256, theirs.bitstream_bytes
    client.delete(f"/v1/images/{first}")
    deletions.sweep(
        services.database, services.storage, now=object_lifecycle.utc_now() + 2 * object_lifecycle.RESERVATION
    )
    assert client.get(f"/v1/images/{second}/bitstream").content == stream()


def test_originals_of_the_same_content_are_stored_once_and_go_with_the_last_image(
    client: TestClient, services: Services, objects_folder: Path
) -> None:
    data = picture(7)
    first, second = (submit(client, data, name=name, keep_original=True)["image"] for name in ("a.png", "b.png"))
    assert [path.read_bytes() for path in objects_folder.rglob("*.png")] == [data]
    with services.database.read() as session:
        stored = session.scalars(select(StoredObject).where(StoredObject.kind == ObjectKind.ORIGINAL)).all()
    assert [row.sha256 for row in stored] == [hashlib.sha256(data).hexdigest()]
    client.delete(first["links"]["self"])
    later = object_lifecycle.utc_now() + 2 * object_lifecycle.RESERVATION
    assert deletions.sweep(services.database, services.storage, now=later) == 0
    assert client.get(second["links"]["original"]).content == data
    client.delete(second["links"]["self"])
    assert deletions.sweep(services.database, services.storage, now=later) == 1
    assert list(objects_folder.rglob("*.png")) == []


def test_batch_of_equal_pictures_stores_them_once(client: TestClient, objects_folder: Path) -> None:
    data = picture(8)
    answer = client.post("/v1/batches", files=[("files", ("a.png", data)), ("files", ("b.png", data))])
    assert answer.status_code == 202, answer.text
    assert [image["name"] for image in answer.json()["images"]] == ["a.png", "b.png"]
    assert [path.read_bytes() for path in objects_folder.rglob("*.png")] == [data]


def test_upload_whose_content_another_dropped_meanwhile_is_stored_again(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch, objects_folder: Path
) -> None:
    data = picture(9)
    other = submit(client, data, name="a.png")["image"]
    put, puts = services.storage.put, 0

    def _put_while_the_other_goes(key: str, *arguments: object, **named: object) -> None:
        nonlocal puts
        put(key, *arguments, **named)  # type: ignore[arg-type]
        puts += 1
        if puts == 1:
            # The other's retention used the reservation of both, and now it is dropped and swept.
            with services.database.write() as session:
                session.execute(delete(PendingDeletion))
            client.delete(other["links"]["self"])
            assert deletions.sweep(services.database, services.storage) == 1

    monkeypatch.setattr(services.storage, "put", _put_while_the_other_goes)
    image = submit(client, data, name="b.png", keep_original=True)["image"]
    assert puts == 2
    assert client.get(image["links"]["original"]).content == data


@pytest.mark.parametrize("route", ["/v1/images", "/v1/batches"])
def test_upload_does_not_wait_for_a_deletion_of_the_same_content_that_may_still_come(
    client: TestClient, services: Services, objects_folder: Path, route: str
) -> None:
    data = picture(10)
    key, now = original_key(hashlib.sha256(data).hexdigest(), "png"), object_lifecycle.utc_now()
    with services.database.write() as session:
        session.add(PendingDeletion(key=key, due_at=now, blocked_until=now + object_lifecycle.LONGEST_DELAY))
    field = "file" if route == "/v1/images" else "files"
    answer = client.post(route, files=[(field, ("a.png", data))], data={"options": '{"keep_original": true}'})
    assert answer.status_code == 202, answer.text
    found = answer.json()["image"]["id"] if route == "/v1/images" else answer.json()["images"][0]["image_id"]
    assert [path.name for path in objects_folder.rglob("*.png")] == [f"{found}.png"]
    assert client.get(f"/v1/images/{found}/original").content == data


def test_running_job_of_a_deleted_image_can_record_nothing(client: TestClient, services: Services) -> None:
    body = submit(client)
    with services.database.write() as session:
        job = session.get(Job, body["job"]["id"])
        assert job is not None
        job.state, job.lease_token = JobState.RUNNING, "worker:clm"
    assert client.delete(f"/v1/images/{body['image']['id']}").status_code == 204
    with services.database.read() as session:
        assert session.get(Job, body["job"]["id"]) is None


def test_reference_comes_with_its_rate_and_lies_beside(
    client: TestClient, services: Services, objects_folder: Path
) -> None:
    reference = picture(8, (30, 20), "JPEG")
    answer = client.post(
        "/v1/images",
        files={"file": ("a.png", picture(7, (30, 20))), "reference": ("r.jpg", reference)},
        data={"options": '{"mode": "ref", "reference_bpp": 0.5}'},
    )
    image = answer.json()["image"]
    assert (answer.status_code, image["declared_bits"], image["options"]["mode"]) == (202, None, "ref")
    with services.database.read() as session:
        row = session.get(Image, image["id"])
        assert row is not None and row.declared_bits == 300
    assert [path.read_bytes() for path in objects_folder.glob("references/*/*.jpg")] == [reference]


@pytest.mark.parametrize(
    ("reference", "options", "status", "code"),
    [
        (picture(), '{"mode": "ref"}', 422, "option_invalid"),
        (None, '{"mode": "ref", "reference_bpp": 0.5}', 422, "option_invalid"),
        (picture(), '{"mode": "pixel", "reference_bpp": 0.5}', 422, "option_invalid"),
        (picture(), '{"mode": "ref", "reference_bpp": 0}', 422, "option_invalid"),
        (picture(), '{"mode": "ref", "reference_bpp": 0.001}', 422, "option_invalid"),
        (b"no picture", '{"mode": "ref", "reference_bpp": 0.5}', 415, "picture_unrecognised"),
        (bytes(9 * 1024 * 1024), '{"mode": "ref", "reference_bpp": 0.5}', 413, "upload_too_large"),
    ],
)
def test_reference_that_does_not_fit_is_refused(
    client: TestClient,
    reference: bytes | None,
    options: str,
    status: int,
    code: str,
    assert_nothing_left: Callable[[], None],
) -> None:
    files = {"file": ("a.png", picture())} | ({"reference": ("r.png", reference)} if reference is not None else {})
    answer = client.post("/v1/images", files=files, data={"options": options})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert_nothing_left()
