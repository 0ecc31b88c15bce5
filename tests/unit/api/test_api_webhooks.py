"""Webhooks over HTTP: the secret is shown once, private addresses are refused, messages are listed and replayed."""

import pytest
from fastapi.testclient import TestClient

from tests.unit.api.samples import picture, submit

_URL = "https://93.184.215.14/hook"


def test_secret_is_shown_once(client: TestClient) -> None:
    answer = client.post("/v1/webhooks", json={"url": _URL})
    made = answer.json()
    assert answer.status_code == 201 and made["secret"].startswith("whsec_")
    shown = client.get(f"/v1/webhooks/{made['id']}").json()
    assert "secret" not in shown and (shown["url"], shown["owner"], shown["batch_id"]) == (_URL, "default", None)
    assert client.get("/v1/webhooks").json() == {"items": [shown], "next_cursor": None}
    assert client.delete(f"/v1/webhooks/{made['id']}").status_code == 204
    assert client.get(f"/v1/webhooks/{made['id']}").status_code == 404


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"url": "https://10.0.0.1/"}, "webhook_address_refused"),
        ({"url": "http://93.184.215.14/"}, "webhook_address_refused"),
        ({"url": "https://localhost/"}, "webhook_address_refused"),
        ({"url": _URL, "secret": "x"}, "request_invalid"),
        ({}, "request_invalid"),
    ],
)
def test_bad_registration_is_refused(client: TestClient, body: dict[str, str], code: str) -> None:
    answer = client.post("/v1/webhooks", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422 if code == "webhook_address_refused" else 400, code)
    assert client.get("/v1/webhooks").json()["items"] == []


def test_webhook_of_a_batch_that_is_not_there_is_refused(client: TestClient) -> None:
    answer = client.post("/v1/webhooks", json={"url": _URL, "batch_id": "bat_00000000000000000000000000"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    batch_id = client.post("/v1/batches", json={}).json()["id"]
    assert client.post("/v1/webhooks", json={"url": _URL, "batch_id": batch_id}).json()["batch_id"] == batch_id


def test_messages_are_listed_and_replayed(client: TestClient) -> None:
    hook = client.post("/v1/webhooks", json={"url": _URL}).json()["id"]
    jobs = [submit(client, picture(number))["job"]["id"] for number in range(2)]
    for job_id in jobs:
        client.post(f"/v1/jobs/{job_id}/cancel")
    page = client.get(f"/v1/webhooks/{hook}/messages", params={"limit": 1}).json()
    rest = client.get(f"/v1/webhooks/{hook}/messages", params={"cursor": page["next_cursor"]}).json()
    found = page["items"] + rest["items"]
    assert {message["subject"] for message in found} == set(jobs) and rest["next_cursor"] is None
    assert {(message["kind"], message["state"], message["attempts"]) for message in found} == {
        ("job.cancelled", "waiting", 0)
    }
    replayed = client.post(f"/v1/webhooks/{hook}/messages/{found[0]['id']}/replay")
    assert (replayed.status_code, replayed.json()["id"]) == (202, found[0]["id"])
    other = client.post("/v1/webhooks", json={"url": _URL}).json()["id"]
    assert client.post(f"/v1/webhooks/{other}/messages/{found[0]['id']}/replay").status_code == 404
