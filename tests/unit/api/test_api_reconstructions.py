"""Ordering reconstructions, looking at them and fetching them."""

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.reconstructions.schemas import OrderOptions
from api.services import Services
from codec.options import Profile
from core.archive import network_sets
from core.storage.keys import reconstruction_key
from models import Job, JobState, Reconstruction, ReconstructionState
from models.base import utc_now
from tests.unit.api.samples import picture, stream, submit


@pytest.fixture
def orders(client: TestClient) -> str:
    image = client.post("/v1/bitstreams", content=stream(), params={"name": "boat.misc"}).json()["image"]
    return f"/v1/images/{image['id']}/reconstructions"


def _finish(services: Services, ordered: dict[str, Any], data: bytes) -> None:
    """What a decode worker records."""
    digest = hashlib.sha256(data).hexdigest()
    key = reconstruction_key(digest, "png")
    services.storage.put(key, data, content_type="image/png", sha256=digest)
    with services.database.write() as session:
        row = session.get(Reconstruction, ordered["reconstruction"]["id"])
        job = session.get(Job, ordered["job"]["id"])
        assert row is not None and job is not None
        row.state, row.sha256, row.object_key, row.size_bytes = ReconstructionState.READY, digest, key, len(data)
        row.restorer, row.seed, row.seconds = "smooth", 7, {"total": 0.5}
        job.state, job.progress = JobState.SUCCEEDED, 1.0


def test_order_is_answered_with_job_and_defaults(client: TestClient, orders: str) -> None:
    answer = client.post(orders)
    body = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (202, f"/v1/jobs/{body['job']['id']}")
    assert (body["job"]["kind"], body["job"]["queue"], body["job"]["state"]) == ("decode", "decode", "queued")
    row = body["reconstruction"]
    assert (row["state"], row["format"], row["options"]["restorer"]) == ("pending", "png", "gan")
    assert (row["width"], row["height"], row["links"]["content"]) == (640, 480, None)


def test_profile_that_nobody_names_is_the_services_own(client: TestClient, orders: str) -> None:
    services: Services = client.app.state.services  # type: ignore[attr-defined]
    client.app.state.services = replace(services, profile=Profile.SD21)  # type: ignore[attr-defined]
    by_default = client.post(orders).json()["reconstruction"]
    assert (by_default["options"]["profile"], by_default["options"]["restorer"]) == ("sd21", "diffusion")
    by_name = client.post(orders, json={"restorer": "diffusion", "profile": "sd21"}).json()["reconstruction"]
    assert by_name["id"] == by_default["id"]
    light = client.post(orders, json={"profile": "lite"}).json()["reconstruction"]
    assert (light["options"]["profile"], light["options"]["restorer"]) == ("lite", "gan")
    plain = client.post(orders, json={"restorer": "smooth"}).json()["reconstruction"]
    assert (plain["options"]["profile"], plain["options"]["restorer"]) == ("sd21", "smooth")


def test_same_order_is_not_made_twice(client: TestClient, services: Services, orders: str) -> None:
    first = client.post(orders, json={"seed": 4}).json()
    second = client.post(orders, json={"seed": 4})
    assert (second.status_code, second.json()["job"]["id"]) == (202, first["job"]["id"])
    assert client.post(orders, json={"seed": 5}).json()["job"]["id"] != first["job"]["id"]
    assert client.post(orders, json={"seed": 4, "format": "webp"}).json()["job"]["id"] != first["job"]["id"]
    _finish(services, first, picture())
    third = client.post(orders, json={"seed": 4})
    assert (third.status_code, third.json()["reconstruction"]["state"]) == (200, "ready")
    assert third.json()["reconstruction"]["id"] == first["reconstruction"]["id"]


def test_order_with_a_deadline_is_fingerprinted_by_it_and_its_job_tells_it(client: TestClient, orders: str) -> None:
    wanted = {"deadline": "2030-01-01T08:00:00+01:00"}
    first = client.post(orders, json=wanted, headers={"Idempotency-Key": "one"})
    assert first.json()["job"]["deadline"] == "2030-01-01T07:00:00Z"
    assert "deadline" not in first.json()["reconstruction"]["options"]
    assert client.post(orders, json=wanted, headers={"Idempotency-Key": "one"}).json() == first.json()
    later = client.post(orders, json={"deadline": "2030-01-01T09:00:00+01:00"}, headers={"Idempotency-Key": "one"})
    assert (later.status_code, later.json()["code"]) == (422, "idempotency_mismatch")
    assert OrderOptions().choices().keys().isdisjoint({"deadline", "priority", "samples"})


@pytest.mark.parametrize(
    ("deadline", "held"),
    [("0001-01-01T00:00:00+14:00", "2000-01-01T00:00:00Z"), ("9999-12-31T23:59:59-14:00", "3000-01-01T00:00:00Z")],
)
def test_deadline_that_no_database_holds_is_the_nearest_one_held(
    client: TestClient, orders: str, deadline: str, held: str
) -> None:
    assert client.post(orders, json={"deadline": deadline}).json()["job"]["deadline"] == held


def test_order_that_somebody_waits_for_hastens_the_bulk_one_on_its_way(client: TestClient, orders: str) -> None:
    bulk = client.post(orders, json={"priority": "bulk"}).json()["job"]
    assert (bulk["priority"], bulk["deadline"]) == ("bulk", None)
    again = client.post(orders, json={"deadline": "2030-01-01T08:00:00Z"}).json()["job"]
    assert again["id"] == bulk["id"]
    client.post(orders, json={"priority": "bulk", "deadline": "2031-01-01T08:00:00Z"})
    raised = client.get(f"/v1/jobs/{bulk['id']}").json()
    assert (raised["priority"], raised["deadline"]) == ("interactive", "2030-01-01T08:00:00Z")


def test_order_is_made_again_when_its_picture_is_lost(client: TestClient, services: Services, orders: str) -> None:
    first = client.post(orders).json()
    _finish(services, first, picture())
    services.storage.delete(reconstruction_key(hashlib.sha256(picture()).hexdigest(), "png"))
    second = client.post(orders, headers={"Idempotency-Key": "again"})
    assert (second.status_code, second.json()["reconstruction"]["state"]) == (202, "pending")
    assert second.json()["reconstruction"]["id"] != first["reconstruction"]["id"]
    lost = client.get(first["reconstruction"]["links"]["self"]).json()
    assert (lost["state"], lost["links"]["content"]) == ("failed", None)
    _finish(services, second.json(), picture())
    assert client.post(orders).status_code == 200
    assert client.post(orders, headers={"Idempotency-Key": "again"}).json() == second.json()


def test_ready_picture_is_told_again_under_one_key(client: TestClient, services: Services, orders: str) -> None:
    _finish(services, client.post(orders).json(), picture())
    answers = [client.post(orders, headers={"Idempotency-Key": "one"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[1].headers["idempotency-replayed"] == "true"


def test_order_for_an_image_that_was_deleted_is_not_found(client: TestClient, orders: str) -> None:
    client.delete(orders.removesuffix("/reconstructions"))
    answer = client.post(orders)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_content_comes_when_it_is_ready(client: TestClient, services: Services, orders: str) -> None:
    ordered = client.post(orders).json()
    path = f"{ordered['reconstruction']['links']['self']}/content"
    early = client.get(path)
    assert (early.status_code, early.json()["code"]) == (409, "not_ready")
    _finish(services, ordered, picture(3))
    answer = client.get(path)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, picture(3), "image/png")
    assert 'filename="boat.reconstruction.png"' in answer.headers["content-disposition"]
    assert client.head(path).headers["content-length"] == str(len(picture(3)))
    row = client.get(ordered["reconstruction"]["links"]["self"]).json()
    assert (row["state"], row["restorer"], row["seed"], row["links"]["content"]) == ("ready", "smooth", 7, path)
    image = client.get(row["links"]["image"]).json()
    assert [entry["id"] for entry in image["reconstructions"]] == [row["id"]]


def test_image_without_a_stream_has_no_reconstruction(client: TestClient) -> None:
    answer = client.post(submit(client)["image"]["links"]["reconstructions"])
    assert (answer.status_code, answer.json()["code"]) == (409, "not_ready")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ('{"steps": 0}', 422, "option_invalid"),
        ('{"stepz": 1}', 422, "option_invalid"),
        ('{"format": "bmp"}', 422, "option_invalid"),
        ('{"restorer": "../x"}', 422, "option_invalid"),
        ('{"seed": 9223372036854775808}', 422, "option_invalid"),
        ('{"guidance": 1e999}', 422, "option_invalid"),
        ('{"deadline": "2030-01-01T08:00:00"}', 422, "option_invalid"),
        ('{"deadline": 60}', 422, "option_invalid"),
        ('{"deadline": "1893456000.5"}', 422, "option_invalid"),
        ("{", 400, "request_invalid"),
        ("[1]", 400, "request_invalid"),
        ("null", 400, "request_invalid"),
        (b"\xff\xfe\x00", 400, "request_invalid"),
    ],
)
def test_bad_order_is_refused(client: TestClient, orders: str, body: str | bytes, status: int, code: str) -> None:
    answer = client.post(orders, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert client.get("/v1/jobs").json()["items"] == []


def test_order_in_another_form_is_refused(client: TestClient, orders: str) -> None:
    answer = client.post(orders, content="seed=1", headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert (answer.status_code, answer.json()["code"]) == (415, "media_type_unsupported")


def test_order_beyond_the_limits_is_refused_with_its_figure_and_leaves_nothing(client: TestClient, orders: str) -> None:
    order = {"restorer": "diffusion", "profile": "sd21", "schedule": "staged", "steps": 200, "res": 2048}
    answer = client.post(orders, json=order)
    assert (answer.status_code, answer.json()["code"]) == (422, "decode_too_costly")
    assert "megapixels" in answer.json()["detail"]
    assert client.get("/v1/jobs").json()["items"] == []


def test_order_after_new_networks_were_installed_is_made_anew(
    client: TestClient, services: Services, orders: str
) -> None:
    ordered = client.post(orders).json()
    _finish(services, ordered, picture(3))
    with services.database.write() as session:
        row = session.get(Reconstruction, ordered["reconstruction"]["id"])
        assert row is not None
        row.weights = {"stage1": "a" * 64, "coarse": "12345678"}
        assert network_sets.note(session, "gan/lite", {"stage1": "a" * 64})
    assert client.post(orders).status_code == 200
    assert client.get(f"/v1/reconstructions/{ordered['reconstruction']['id']}").json()["weights"]["stage1"] == "a" * 64
    with services.database.write() as session:
        assert network_sets.note(session, "gan/lite", {"stage1": "b" * 64})
        assert not network_sets.note(session, "gan/lite", {"stage1": "b" * 64})
    again = client.post(orders)
    assert again.status_code == 202
    assert again.json()["reconstruction"]["id"] != ordered["reconstruction"]["id"]
    assert client.post(orders, json={"restorer": "smooth"}).status_code == 202


def test_deleted_reconstruction_is_gone_and_made_again_when_ordered(
    client: TestClient, services: Services, orders: str
) -> None:
    ordered = client.post(orders).json()
    _finish(services, ordered, picture(3))
    path = f"/v1/reconstructions/{ordered['reconstruction']['id']}"
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404 and client.get(f"{path}/content").status_code == 404
    assert client.delete(path).status_code == 404
    again = client.post(orders)
    assert again.status_code == 202
    assert client.delete(f"/v1/reconstructions/{again.json()['reconstruction']['id']}").status_code == 204, "still open"


def test_one_of_several_sets_can_be_ordered(client: TestClient, orders: str) -> None:
    newest = client.post(orders, json={"profile": "sd21"}).json()["reconstruction"]
    chosen = client.post(orders, json={"profile": "sd21", "network_set": "diffbir-v1"}).json()["reconstruction"]
    assert chosen["id"] != newest["id"] and chosen["options"]["network_set"] == "diffbir-v1"


def test_options_at_their_default_are_the_order_of_before_there_were_these(client: TestClient, orders: str) -> None:
    plain = client.post(orders, json={"profile": "sd21"}).json()["reconstruction"]
    said = {"colour_fix": "wavelet", "mask_edges": "soft", "coarse_guidance": 0, "rescale_cfg": False, "stage": "final"}
    said |= {"guidance_from": 1000, "guidance_to": 0}
    assert client.post(orders, json={"profile": "sd21", **said}).json()["reconstruction"]["id"] == plain["id"]
    assert not set(plain["options"]) & (set(said) | {"positive_prompt", "negative_prompt", "samples"})


@pytest.mark.parametrize(
    "option",
    [
        {"colour_fix": "adain"},
        {"mask_edges": "hard"},
        {"coarse_guidance": 0.5},
        {"rescale_cfg": True},
        {"guidance_from": 800},
        {"guidance_to": 100},
        {"positive_prompt": "sharp"},
        {"negative_prompt": "cartoon"},
        {"stage": "clean"},
        {"stage": "coarse"},
    ],
)
def test_published_options_are_another_reconstruction(
    client: TestClient, orders: str, option: dict[str, object]
) -> None:
    plain = client.post(orders, json={"profile": "sd21"}).json()["reconstruction"]
    other = client.post(orders, json={"profile": "sd21", **option}).json()["reconstruction"]
    assert other["id"] != plain["id"] and other["options"].items() >= option.items()


def test_samples_are_reconstructions_of_seeds_that_follow_each_other(client: TestClient, orders: str) -> None:
    order = {"profile": "sd21", "samples": 3, "seed": 2**63 - 2}
    answer = client.post(orders, json=order, headers={"Idempotency-Key": "three"})
    samples = answer.json()["samples"]
    assert answer.status_code == 202 and samples[0]["reconstruction"] == answer.json()["reconstruction"]
    seeds = [sample["reconstruction"]["options"]["seed"] for sample in samples]
    assert seeds == [2**63 - 2, 2**63 - 1, 0]
    assert len({sample["job"]["id"] for sample in samples}) == 3
    again = client.post(orders, json=order, headers={"Idempotency-Key": "three"})
    assert again.json() == answer.json()
    from_stream = client.post(orders, json={"profile": "sd21", "samples": 2}).json()["samples"]
    plain = client.post(orders, json={"profile": "sd21"}).json()
    assert from_stream[0]["reconstruction"]["id"] == plain["reconstruction"]["id"] and plain["samples"] == []
    first = int(hashlib.sha256(stream()).hexdigest()[:16], 16) >> 1
    assert from_stream[1]["reconstruction"]["options"]["seed"] == first + 1


def test_samples_and_stages_that_a_restorer_has_not_are_refused(client: TestClient, orders: str) -> None:
    for order, word in (
        ({"samples": 2}, "gan has none"),
        ({"samples": 17, "profile": "sd21"}, "samples"),
        ({"stage": "clean"}, "restorer diffusion"),
        ({"stage": "item-1", "profile": "sd21"}, "schedule staged"),
        ({"coarse_guidance": 101}, "coarse_guidance"),
        ({"guidance_from": 1001}, "guidance_from"),
    ):
        answer = client.post(orders, json=order)
        assert (answer.status_code, answer.json()["code"]) == (422, "option_invalid") and word in answer.json()[
            "detail"
        ]


def test_use_is_noted_once_an_hour(client: TestClient, services: Services, orders: str) -> None:
    ordered = client.post(orders).json()
    _finish(services, ordered, picture(3))
    reconstruction_id = ordered["reconstruction"]["id"]

    def _used(at: datetime | None = None) -> datetime | None:
        with services.database.write() as session:
            row = session.get(Reconstruction, reconstruction_id)
            assert row is not None
            row.last_used_at = at or row.last_used_at
            return row.last_used_at

    for age, is_noted in ((timedelta(minutes=50), False), (timedelta(minutes=70), True)):
        before = _used(utc_now() - age)
        assert client.get(f"/v1/reconstructions/{reconstruction_id}/content").status_code == 200
        assert (_used() != before) is is_noted
    before = _used(utc_now() - timedelta(minutes=50))
    assert client.post(orders).status_code == 200
    assert _used() != before
