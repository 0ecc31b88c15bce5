"""A request that is sent twice with one Idempotency-Key is done once and answered twice."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update

from api.images import intake
from api.services import Services
from core import idempotency
from core.database import Database
from core.errors import DatabaseUnavailable, IdempotencyInFlight
from core.idempotency import HeldKey, KeyKeeper
from models import IdempotencyKey, Image, Job
from models.base import utc_now
from tests.unit.api.conftest import Opener
from tests.unit.api.samples import picture, stream


def _send(client: TestClient, key: str, data: bytes | None = None, options: str = "{}") -> Any:
    return client.post(
        "/v1/images",
        files={"file": ("a.png", data or picture())},
        data={"options": options},
        headers={"Idempotency-Key": key},
    )


def _count(database: Database, table: Any) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_repeated_upload_is_answered_from_memory(client: TestClient, database: Database) -> None:
    first, second = _send(client, "one"), _send(client, "one")
    assert second.json() == first.json()
    assert (second.status_code, second.headers["location"]) == (202, first.headers["location"])
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert (_count(database, Image), _count(database, Job)) == (1, 1)


def test_upload_is_the_same_one_however_soon_it_is_wanted(client: TestClient, database: Database) -> None:
    first = _send(client, "one", options='{"deadline": "2030-01-01T08:00:00Z"}').json()
    assert first["job"]["deadline"] == "2030-01-01T08:00:00Z"
    assert "deadline" not in first["image"]["options"]
    assert _send(client, "one").json() == first
    assert _count(database, Job) == 1


def test_quoted_key_is_the_same_key(client: TestClient, database: Database) -> None:
    assert _send(client, '"one"').json() == _send(client, "one").json()
    assert _count(database, Image) == 1


@pytest.mark.parametrize(("data", "options"), [(picture(9), "{}"), (picture(), '{"blocks": 8}')])
def test_same_key_with_another_request_is_refused(client: TestClient, data: bytes, options: str) -> None:
    _send(client, "one")
    answer = _send(client, "one", data, options)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")


def test_request_in_flight_is_a_conflict(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "complete", lambda *_: None)
    _send(client, "one")
    answer = _send(client, "one")
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_in_flight")


def test_refused_request_frees_its_key(client: TestClient, database: Database) -> None:
    assert _send(client, "one", b"no picture").status_code == 415
    assert _count(database, IdempotencyKey) == 0
    assert _send(client, "one").status_code == 202


def test_all_keys_of_the_settings_are_one_caller(open_client: Opener) -> None:
    client = open_client(keys="a,b")
    answers = [
        client.post(
            "/v1/probes",
            json={"queue": "encode"},
            headers={"Idempotency-Key": "same", "Authorization": f"Bearer {key}"},
        ).json()["job"]["id"]
        for key in ("a", "b", "a")
    ]
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize("key", ["", '""', "x" * 256, "bell\x07", "schlüssel"])
def test_unfit_key_is_refused(client: TestClient, key: str) -> None:
    answer = client.post("/v1/probes", json={"queue": "encode"}, headers={"Idempotency-Key": key.encode("latin-1")})  # type: ignore[dict-item]
    assert (answer.status_code, answer.json()["code"]) == (400, "request_invalid")


def test_every_creating_request_honours_the_key(client: TestClient) -> None:
    headers = {"Idempotency-Key": "all"}
    image = client.post("/v1/bitstreams", content=stream()).json()["image"]["id"]
    for number, send in enumerate(
        (
            lambda h: client.post("/v1/bitstreams", content=stream(7), headers=h),
            lambda h: client.post("/v1/batches", json={"name": "spring"}, headers=h),
            lambda h: client.post("/v1/batches", files=[("files", ("a.png", picture()))], headers=h),
            lambda h: client.post(f"/v1/images/{image}/reconstructions", json={}, headers=h),
            lambda h: client.post("/v1/probes", json={"queue": "decode"}, headers=h),
        )
    ):
        key = headers | {"Idempotency-Key": f"key-{number}"}
        first, second = send(key), send(key)
        assert first.is_success and second.json() == first.json(), first.text
        assert second.headers["idempotency-replayed"] == "true"
        assert second.status_code == first.status_code


def test_answer_and_work_are_kept_together_or_not_at_all(
    client: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def _fail(*_: object) -> None:
        raise DatabaseUnavailable("the connection was lost")

    with monkeypatch.context() as patch:
        patch.setattr(idempotency, "complete", _fail)
        assert _send(client, "one").status_code == 503
    assert (_count(database, Image), _count(database, Job), _count(database, IdempotencyKey)) == (0, 0, 0)


def test_answer_is_replayed_when_the_connection_is_lost_behind_the_commit(
    client: TestClient, services: Services, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def _lose(*_: object) -> None:
        raise DatabaseUnavailable("the connection was lost")

    with monkeypatch.context() as patch:
        patch.setattr(type(services.outbox_sender), "notify", _lose)
        answer = client.post("/v1/probes", json={"queue": "encode"}, headers={"Idempotency-Key": "one"})
    assert (answer.status_code, _count(database, Job)) == (503, 1)
    assert "not known" in answer.json()["detail"]
    again = client.post("/v1/probes", json={"queue": "encode"}, headers={"Idempotency-Key": "one"})
    assert (again.status_code, again.headers["idempotency-replayed"], _count(database, Job)) == (202, "true", 1)


def test_first_fault_is_told_when_the_key_cannot_be_freed(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def _fail(*_: object) -> None:
        raise DatabaseUnavailable("the connection was lost")

    monkeypatch.setattr(idempotency, "abandon", _fail)
    assert _send(client, "one", b"no picture").status_code == 415


def _begin(database: Database) -> HeldKey:
    held = idempotency.begin(database, "a", "one", "0" * 64, timedelta(hours=1))
    assert isinstance(held, HeldKey)
    return held


def _expire_leases(database: Database) -> None:
    with database.write() as session:
        session.execute(update(IdempotencyKey).values(lease_expires_at=utc_now() - timedelta(seconds=1)))


def test_key_of_a_dead_holder_is_free_after_its_lease(database: Database) -> None:
    _begin(database)
    with pytest.raises(IdempotencyInFlight):
        _begin(database)
    _expire_leases(database)
    _begin(database)


def test_keeper_renews_what_it_holds_and_frees_it_at_its_end(database: Database) -> None:
    keeper = KeyKeeper(database)
    held = keeper.take("a", "one", "0" * 64, timedelta(hours=1))
    _expire_leases(database)
    keeper._renew_all()
    with pytest.raises(IdempotencyInFlight):
        _begin(database)
    keeper.close()
    assert _begin(database) != held


def test_request_that_is_cut_off_frees_its_key(
    client: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def _cut_off(*_: object) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(intake, "check", _cut_off)
        with pytest.raises(BaseException):  # noqa: B017 - whatever the test client makes of it
            _send(client, "one")
    assert _count(database, IdempotencyKey) == 0
    assert _send(client, "one").status_code == 202


def test_key_that_another_request_took_over_and_answered_is_not_answered_twice(database: Database) -> None:
    answer = idempotency.StoredResponse(202, {"first": True}, None)
    late = _begin(database)
    _expire_leases(database)
    quick = _begin(database)
    with database.write() as session:
        idempotency.complete(session, quick, answer)
    with pytest.raises(IdempotencyInFlight), database.write() as session:
        idempotency.complete(session, late, idempotency.StoredResponse(202, {"first": False}, None))
    idempotency.abandon(database, [late])
    assert idempotency.begin(database, "a", "one", "0" * 64, timedelta(hours=1)) == answer


def test_answers_past_their_lifetime_go_with_any_request(database: Database) -> None:
    for caller in ("a", "b"):
        idempotency.begin(database, caller, "old", "0" * 64, timedelta(hours=1))
    with database.write() as session:
        for row in session.scalars(select(IdempotencyKey)):
            row.status, row.created_at = 202, utc_now() - timedelta(hours=2)
    idempotency.begin(database, "c", "young", "0" * 64, timedelta(hours=1))
    with database.read() as session:
        assert session.scalars(select(IdempotencyKey.key)).all() == ["young"]
