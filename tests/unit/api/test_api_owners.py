"""Owners: what one has does not exist to another, on any route; what a key may do; how soon a revoked one stops."""

import itertools
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from api.services import Services
from core.archive import deletions
from core.database import Database
from core.jobs import transitions
from core.owners import keys
from core.owners.key_book import KeyBook
from core.owners.keys import NewKey
from core.owners.scope import Scope
from models.base import new_id, utc_now
from tests.claims import claim_job
from tests.unit.api.conftest import Opener
from tests.unit.api.samples import picture, stream

_BOTH = frozenset({Scope.READ, Scope.SUBMIT})
_PREFIXES = {"image_id": "img", "job_id": "job", "batch_id": "bat", "reconstruction_id": "rec"} | {
    "webhook_id": "whk",
    "message_id": "msg",
}


@dataclass(frozen=True)
class Person:
    """Somebody with a key."""

    client: TestClient
    key: str

    def __call__(self, method: str, path: str, **options: Any) -> Response:
        headers = {"Authorization": f"Bearer {self.key}"} | options.pop("headers", {})
        answer: Response = self.client.request(method, path, headers=headers, **options)
        return answer

    def submit(self, data: bytes, **options: Any) -> dict[str, Any]:
        answer = self("POST", "/v1/images", files={"file": ("boat.png", data)}, data={"options": json.dumps(options)})
        assert answer.status_code == 202, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def ids(self, path: str) -> list[str]:
        return [item["id"] for item in self("GET", path).json()["items"]]


def _key(database: Database, name: str, scopes: frozenset[Scope] = _BOTH, **options: Any) -> str:
    with database.write() as session:
        return keys.create(session, NewKey(name, options.pop("owner", name), scopes, **options))[1]


@pytest.fixture
def alice(client: TestClient, database: Database) -> Person:
    return Person(client, _key(database, "alice"))


@pytest.fixture
def bob(client: TestClient, database: Database) -> Person:
    return Person(client, _key(database, "bob"))


@pytest.fixture
def operator(client: TestClient, database: Database) -> Person:
    return Person(client, _key(database, "operator", frozenset({Scope.ADMIN})))


@pytest.fixture
def of_alice(alice: Person) -> dict[str, str]:
    """The id of one thing of each kind, by the name of the parameter that takes it."""
    image = alice("POST", "/v1/bitstreams", content=stream()).json()["image"]["id"]
    ordered = alice("POST", f"/v1/images/{image}/reconstructions", json={}).json()
    batch = alice("POST", "/v1/batches", json={"name": "spring"}).json()["id"]
    alice.submit(picture(), batch_id=batch)
    hook = alice("POST", "/v1/webhooks", json={"url": "https://93.184.215.14/x"}).json()["id"]
    other = alice.submit(picture(5))["job"]["id"]
    assert alice("POST", f"/v1/jobs/{other}/cancel").json()["state"] == "cancelled"
    [message] = alice("GET", f"/v1/webhooks/{hook}/messages").json()["items"]
    return {
        "webhook_id": hook,
        "message_id": message["id"],
        "image_id": image,
        "reconstruction_id": ordered["reconstruction"]["id"],
        "job_id": ordered["job"]["id"],
        "batch_id": batch,
    }


def _operations(client: TestClient) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every method and path of the document, and HEAD wherever there is GET."""
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation
            if method == "get":
                yield "HEAD", path, operation


def test_others_ids_are_unknown_on_every_route(
    client: TestClient, alice: Person, bob: Person, of_alice: dict[str, str]
) -> None:
    walked = set()
    for method, path, _ in _operations(client):
        names = re.findall(r"{(\w+)}", path)
        if not names:
            continue
        if "worker_id" in names:
            assert bob(method, path.format(worker_id=new_id("wrk"))).status_code == 403
            continue
        address = path.format(**of_alice)
        unknown = path.format(**{name: new_id(_PREFIXES[name]) for name in names})
        answer, of_nothing = bob(method, address), bob(method, unknown)
        assert answer.status_code == of_nothing.status_code
        if method == "HEAD" and answer.status_code == 405:
            continue
        assert answer.status_code == 404, (method, path, answer.status_code, answer.text)
        if method != "HEAD":
            # Not even the wording tells the two apart.
            said = json.dumps({k: v for k, v in answer.json().items() if k not in ("request_id", "instance")})
            of_unknown = json.dumps({k: v for k, v in of_nothing.json().items() if k not in ("request_id", "instance")})
            for name in names:
                said = said.replace(of_alice[name], "ID")
            assert said == re.sub(r"(img|job|bat|rec|whk|msg)_[0-9a-z]{26}", "ID", of_unknown)
        walked.add((method, path))
    assert len(walked) >= 17
    # All of it is there, and nothing of it was changed.
    for kind in ("image", "job", "reconstruction"):
        assert alice("GET", f"/v1/{kind}s/{of_alice[f'{kind}_id']}").status_code == 200
    assert alice("GET", f"/v1/batches/{of_alice['batch_id']}").status_code == 200
    assert alice("GET", f"/v1/jobs/{of_alice['job_id']}").json()["cancel_requested"] is False


def test_every_filter_takes_others_ids_for_unknown_ones(
    client: TestClient, bob: Person, of_alice: dict[str, str]
) -> None:
    bob.submit(picture(7))
    tried = 0
    for method, path, operation in _operations(client):
        if method != "GET":
            continue
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "query" and parameter["name"] in _PREFIXES:
                answer = bob("GET", path, params={parameter["name"]: of_alice[parameter["name"]]})
                assert (answer.status_code, answer.json()["items"]) == (200, [])
                tried += 1
    assert tried >= 3
    assert bob("GET", "/v1/images.zip", params={"id": of_alice["image_id"]}).status_code == 404
    refused = bob("POST", "/v1/images", files={"file": ("x.png", picture())},
                  data={"options": json.dumps({"batch_id": of_alice["batch_id"]})})  # fmt: skip
    assert (refused.status_code, refused.json()["code"]) == (404, "not_found")


def test_lists_searches_and_counts_are_of_the_caller(alice: Person, bob: Person, of_alice: dict[str, str]) -> None:
    own = bob("POST", "/v1/bitstreams", params={"name": "harbour.misc"}, content=stream(9)).json()["image"]["id"]
    assert bob.ids("/v1/images") == bob.ids("/v1/images?q=boat") == [own]
    assert set(alice.ids("/v1/images?q=boat")) >= {of_alice["image_id"]}
    assert own not in alice.ids("/v1/images")
    assert alice.ids("/v1/images?q=harbour") == []
    assert bob.ids("/v1/jobs") == bob.ids("/v1/batches") == bob.ids("/v1/batches?name=spring") == []
    assert len(alice.ids("/v1/jobs")) == 3
    assert bob.ids("/v1/webhooks") == [] and alice.ids("/v1/webhooks") == [of_alice["webhook_id"]]
    assert alice("GET", f"/v1/batches/{of_alice['batch_id']}").json()["total"] == 1


def test_admin_sees_and_orders_for_everybody(operator: Person, alice: Person, of_alice: dict[str, str]) -> None:
    assert of_alice["image_id"] in operator.ids("/v1/images")
    assert operator("GET", f"/v1/images/{of_alice['image_id']}").json()["owner"] == "alice"
    ordered = operator("POST", f"/v1/images/{of_alice['image_id']}/reconstructions", json={"seed": 5}).json()
    assert ordered["reconstruction"]["owner"] == ordered["job"]["owner"] == "alice"
    assert alice("GET", f"/v1/jobs/{ordered['job']['id']}").status_code == 200


def test_same_stream_of_two_owners_is_two_images_and_outlives_the_other(
    alice: Person, bob: Person, services: Services
) -> None:
    answers = [person("POST", "/v1/bitstreams", content=stream()) for person in (alice, bob, alice)]
    assert [answer.status_code for answer in answers] == [201, 201, 200]
    first, second, again = (answer.json()["image"]["id"] for answer in answers)
    assert first == again != second
    assert bob("DELETE", f"/v1/images/{second}").status_code == 204
    deletions.sweep(services.database, services.storage, now=utc_now() + timedelta(days=1))
    assert alice("GET", f"/v1/images/{first}/bitstream").content == stream()
    assert bob("GET", f"/v1/images/{second}/bitstream").status_code == 404


def test_same_idempotency_key_of_two_owners_is_two_requests(alice: Person, bob: Person, database: Database) -> None:
    second_key = Person(alice.client, _key(database, "phone", owner="alice"))
    jobs = [
        person("POST", "/v1/probes", json={"queue": "encode"}, headers={"Idempotency-Key": "same"}).json()["job"]["id"]
        for person in (alice, bob, second_key)
    ]
    assert jobs[0] == jobs[2] != jobs[1]


def test_retry_by_code_takes_the_callers_jobs_only(alice: Person, bob: Person, services: Services) -> None:
    failed = []
    for person in (alice, bob):
        job_id = person("POST", "/v1/probes", json={"queue": "encode"}).json()["job"]["id"]
        claim = claim_job(services.database, job_id, "w", timedelta(seconds=30))
        assert claim is not None
        with services.database.write() as session:
            transitions.fail(session, claim, "worker_lost", "It died.")
        failed.append(job_id)
    assert bob("POST", "/v1/jobs/retry?code=worker_lost").json()["retried"] == [failed[1]]
    assert alice("GET", f"/v1/jobs/{failed[0]}").json()["state"] == "failed"


@pytest.mark.parametrize(
    ("scopes", "statuses"),
    [
        ({Scope.READ}, (200, 403, 403)),
        ({Scope.SUBMIT}, (403, 202, 403)),
        ({Scope.READ, Scope.SUBMIT}, (200, 202, 403)),
        ({Scope.ADMIN}, (200, 202, 200)),
    ],
)
def test_scopes(client: TestClient, database: Database, scopes: set[Scope], statuses: tuple[int, ...]) -> None:
    person = Person(client, _key(database, "somebody", frozenset(scopes)))
    answers = [
        person("GET", "/v1/jobs"),
        person("POST", "/v1/probes", json={"queue": "encode"}),
        person("GET", "/metrics"),
    ]
    assert tuple(answer.status_code for answer in answers) == statuses
    assert all(answer.json()["code"] == "forbidden" for answer in answers if answer.status_code == 403)


def test_no_route_changes_anything_for_a_key_that_only_reads(client: TestClient, database: Database) -> None:
    reader = Person(client, _key(database, "reader", frozenset({Scope.READ})))
    refused = [
        reader(method, re.sub(r"{\w+}", "img_00000000000000000000000000", path)).status_code
        for method, path, _ in _operations(client)
        if method not in ("GET", "HEAD")
    ]
    assert len(refused) >= 9 and set(refused) == {403}


def test_once_there_is_a_key_every_call_needs_one(client: TestClient, database: Database) -> None:
    assert client.get("/v1/jobs").status_code == 200
    key = _key(database, "alice")
    _until(lambda: client.get("/v1/jobs").status_code == 401)
    assert client.get("/").status_code == client.get("/healthz").status_code == 200
    with database.write() as session:
        keys.revoke(session, "alice")
    _until(lambda: Person(client, key)("GET", "/v1/jobs").status_code == 401)
    # The last key's end does not open the service again.
    assert client.get("/v1/jobs").status_code == 401


def test_revoked_and_expired_keys_stop_within_two_seconds(client: TestClient, database: Database) -> None:
    person = Person(client, _key(database, "alice"))
    brief = Person(client, _key(database, "brief", lifetime=timedelta(seconds=1)))
    assert person("GET", "/v1/jobs").status_code == brief("GET", "/v1/jobs").status_code == 200
    with database.write() as session:
        keys.revoke(session, "alice")
    revoked = time.monotonic()
    _until(lambda: person("GET", "/v1/jobs").status_code == 401)
    assert time.monotonic() - revoked < 2
    _until(lambda: brief("GET", "/v1/jobs").status_code == 401)


def test_revoked_key_is_remembered_for_a_second(database: Database) -> None:
    key, now = _key(database, "alice"), 100.0
    book = KeyBook(database, lambda: now)
    digest = keys.digest_of(key)
    assert book.recall(digest) is None and book.look_up(digest).caller is not None
    with database.write() as session:
        keys.revoke(session, "alice")
    now = 100.9
    entry = book.recall(digest)
    assert entry is not None and entry.caller is not None
    now = 101.0
    assert book.recall(digest) is None and book.look_up(digest).caller is None


def test_random_keys_do_not_fill_the_memory(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.owners.key_book._MOST_REMEMBERED", 10)
    book = KeyBook(database)
    for number in range(35):
        book.look_up(f"{number:064x}")
    assert len(book._entries) <= 10


def test_keys_of_settings_are_the_operators(open_client: Opener) -> None:
    client = open_client(keys="root", host="archive.example")
    services: Services = client.app.state.services  # type: ignore[attr-defined]
    alice, root = Person(client, _key(services.database, "alice")), Person(client, "root")
    of_alice, of_root = alice.submit(picture())["image"], root.submit(picture())["image"]
    assert (of_alice["owner"], of_root["owner"]) == ("alice", "default")
    assert alice.ids("/v1/images") == [of_alice["id"]]
    assert set(root.ids("/v1/images")) == {of_alice["id"], of_root["id"]}
    assert alice("GET", "/metrics").status_code == 403 and root("GET", "/metrics").status_code == 200


def _until(condition: Any) -> None:
    for _ in itertools.takewhile(lambda _: not condition(), range(60)):
        time.sleep(0.05)
    assert condition()
