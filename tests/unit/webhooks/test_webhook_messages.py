"""Messages of webhooks: written with the end that they tell of, sent until they are taken, signed, never redirected."""

import json
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from core.archive import batches
from core.broker import ENCODE
from core.database import Database
from core.errors import Conflict, NotFound
from core.jobs import transitions
from core.jobs.job import Claim, JobSpec
from core.owners.view import EVERYTHING, View
from core.settings import DatabaseSettings, WebhookSettings
from core.webhooks import hooks, messages
from core.webhooks.sender import WebhookSender
from migrations.upgrade import upgrade
from models import JobKind, MessageState, Webhook, WebhookMessage
from models.base import utc_now
from tests.claims import claim_job
from tests.webhook_receiver import WebhookReceiver, webhook_receiver


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with webhook_receiver() as receiver:
        yield receiver


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    settings = DatabaseSettings(url=f"sqlite:///{tmp_path}/misc.db")
    upgrade(settings)
    database = Database(settings)
    yield database
    database.close()


@pytest.fixture
def sender(database: Database) -> WebhookSender:
    return WebhookSender(database, WebhookSettings(private_hosts="127.0.0.1"))


def _register(database: Database, url: str, owner: str = "alice", batch_id: str | None = None) -> Webhook:
    with database.write() as session:
        return hooks.register(session, url, owner, batch_id, {"127.0.0.1"})


def _job(
    database: Database, owner: str = "alice", kind: JobKind = JobKind.ENCODE, batch_id: str | None = None
) -> Claim:
    with database.write() as session:
        job_id = transitions.create(session, JobSpec(kind, ENCODE, owner=owner, batch_id=batch_id))
    claim = claim_job(database, job_id, "w", timedelta(seconds=30))
    assert claim is not None
    return claim


def _fail(database: Database, claim: Claim) -> None:
    with database.write() as session:
        transitions.fail(session, claim, "picture_truncated", "/secret/path is cut off.")


def _messages(database: Database) -> list[WebhookMessage]:
    with database.read() as session:
        return list(session.scalars(select(WebhookMessage).order_by(WebhookMessage.id)))


def _make_due(database: Database) -> None:
    with database.write() as session:
        session.execute(update(WebhookMessage).values(due_at=utc_now() - timedelta(seconds=1)))


def test_signature_verifies_with_the_standard_library_of_webhooks(
    database: Database, sender: WebhookSender, receiver: WebhookReceiver
) -> None:
    standardwebhooks = pytest.importorskip("standardwebhooks")
    hook = _register(database, receiver.url)
    claim = _job(database)
    _fail(database, claim)
    assert sender.make_pass() == 1
    [(path, headers, body)] = receiver.received
    verified = standardwebhooks.Webhook(hook.secret).verify(body, headers)
    assert path == "/hook" and headers["content-type"] == "application/json"
    assert verified["type"] == "job.failed"
    assert verified["data"] == {
        "id": claim.job_id,
        "kind": "encode",
        "state": "failed",
        "image_id": None,
        "reconstruction_id": None,
        "batch_id": None,
        "error_code": "picture_truncated",
    }
    assert "/secret/path" not in body
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(hook.secret).verify(body.replace("failed", "succeeded"), headers)
    [message] = _messages(database)
    assert (message.state, message.status, message.attempts) == (MessageState.DELIVERED, 204, 1)
    assert headers["webhook-id"] == message.id and sender.make_pass() == 0


def test_message_is_written_in_the_transaction_of_the_end_or_not_at_all(database: Database) -> None:
    _register(database, "https://93.184.215.14/")
    claim = _job(database)
    with pytest.raises(RuntimeError), database.write() as session:
        transitions.succeed(session, claim, {})
        raise RuntimeError
    assert _messages(database) == []
    with database.write() as session:
        transitions.succeed(session, claim, {})
    [message] = _messages(database)
    assert (message.kind, message.subject) == ("job.succeeded", claim.job_id)


def test_only_the_owners_jobs_are_told_and_no_probes(database: Database) -> None:
    _register(database, "https://93.184.215.14/")
    _fail(database, _job(database, owner="bob"))
    _fail(database, _job(database, kind=JobKind.PROBE))
    assert _messages(database) == []
    with database.write() as session:
        waiting = transitions.create(session, JobSpec(JobKind.DECODE, ENCODE, owner="alice"))
        transitions.cancel(session, waiting)
    assert [message.kind for message in _messages(database)] == ["job.cancelled"]


def test_refused_message_is_sent_again_after_pauses_that_grow_and_then_no_more(
    database: Database, sender: WebhookSender, receiver: WebhookReceiver
) -> None:
    _register(database, receiver.url)
    _fail(database, _job(database))
    receiver.status = 500
    pauses = []
    while (message := _messages(database)[0]).state is MessageState.WAITING:
        _make_due(database)
        before = utc_now()
        assert sender.make_pass() == 1
        pauses.append((_messages(database)[0].due_at - before).total_seconds())
    assert (message.state, message.status, message.attempts) == (MessageState.FAILED, 500, 10)
    assert pauses[:-1] == sorted(pauses[:-1]) and 5 <= pauses[0] < 7 and pauses[8] > 80_000
    assert (
        len({body for _, _, body in receiver.received}) == len({h["webhook-id"] for _, h, _ in receiver.received}) == 1
    )
    receiver.status = 200
    with database.write() as session:
        messages.replay(session, message.webhook_id, message.id)
    assert sender.make_pass() == 1
    assert _messages(database)[0].state is MessageState.DELIVERED


def test_redirect_is_not_followed(database: Database, sender: WebhookSender, receiver: WebhookReceiver) -> None:
    _register(database, receiver.url)
    _fail(database, _job(database))
    receiver.status, receiver.headers = 302, {"Location": receiver.url.replace("hook", "elsewhere")}
    sender.make_pass()
    assert [path for path, _, _ in receiver.received] == ["/hook"]
    [message] = _messages(database)
    assert (message.state, message.status) == (MessageState.WAITING, 302)
    assert message.error is not None and "redirects are not followed" in message.error


def test_name_that_leads_inside_by_the_time_of_sending_is_refused(
    database: Database, sender: WebhookSender, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = receiver.url.split(":")[2].split("/")[0]
    _register(database, f"https://turned.example:{port}/hook")
    _fail(database, _job(database))
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", int(port)))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)
    sender.make_pass()
    [message] = _messages(database)
    assert receiver.received == [] and message.error is not None and "10.0.0.1" in message.error


def test_the_address_that_was_checked_is_connected_to(
    database: Database, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(receiver.url.split(":")[2].split("/")[0])
    looked_up: list[str] = []
    own = socket.getaddrinfo

    def _look_up(host: str, *arguments: Any, **options: Any) -> Any:
        looked_up.append(host)
        if host != "turned.example":
            return own(host, *arguments, **options)
        # A second look-up would lead elsewhere.
        address = "127.0.0.1" if looked_up.count(host) == 1 else "10.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    with database.write() as session:
        hooks.register(session, f"http://turned.example:{port}/hook", "alice", None, {"turned.example"})
    _fail(database, _job(database))
    monkeypatch.setattr("core.webhooks.addresses.socket.getaddrinfo", _look_up)
    WebhookSender(database, WebhookSettings(private_hosts="turned.example")).make_pass()
    assert receiver.received[0][1]["host"] == f"turned.example:{port}"
    assert looked_up.count("turned.example") == 1


def test_receiver_that_is_gone_is_told_nothing_more(
    database: Database, sender: WebhookSender, receiver: WebhookReceiver
) -> None:
    _register(database, receiver.url)
    _fail(database, _job(database))
    receiver.status = 410
    sender.make_pass()
    _fail(database, _job(database))
    [message] = _messages(database)
    assert message.state is MessageState.FAILED and sender.make_pass() == 0


def test_end_of_a_batch_is_told_once(database: Database, sender: WebhookSender, receiver: WebhookReceiver) -> None:
    with database.write() as session:
        batch_id = batches.create(session, "spring", "alice", 2).id
    hook = _register(database, receiver.url, batch_id=batch_id)
    first, second = (_job(database, batch_id=batch_id) for _ in range(2))
    _fail(database, first)
    assert messages.note_ended_batches(database) == 0
    with database.write() as session:
        transitions.succeed(session, second, {})
    assert (messages.note_ended_batches(database), messages.note_ended_batches(database)) == (1, 0)
    sender.make_pass()
    [(_, _, body)] = receiver.received
    told = json.loads(body)
    assert (told["type"], told["data"]["id"], told["data"]["name"]) == ("batch.ended", batch_id, "spring")
    assert told["data"]["counts"] == {"queued": 0, "running": 0, "succeeded": 1, "failed": 1, "cancelled": 0}
    with database.read() as session:
        assert hooks.get(session, hook.id, View("alice")).told_at is not None


def test_batch_that_waits_for_announced_pictures_is_not_told(database: Database) -> None:
    with database.write() as session:
        batch_id = batches.create(session, None, "alice", 2).id
        empty = batches.create(session, None, "alice").id
    for one in (batch_id, empty):
        _register(database, "https://93.184.215.14/", batch_id=one)
    _fail(database, _job(database, batch_id=batch_id))
    assert messages.note_ended_batches(database) == 0
    with database.write() as session:
        batches.reject(session, batch_id, [batches.Rejection("a.png", "picture_empty", "It is empty.")])
    assert messages.note_ended_batches(database) == 1


def test_claimed_message_is_nobody_elses_until_its_claim_ends(database: Database) -> None:
    _register(database, "https://93.184.215.14/")
    _fail(database, _job(database))
    assert len(messages.claim_due(database)) == 1 and messages.claim_due(database) == []
    _make_due(database)
    [again] = messages.claim_due(database)
    assert again.attempt == 2
    # The process that had it first comes back too late.
    messages.record_delivered(database, messages.ClaimedMessage(again.id, "", "", "", "", 1), 200)
    assert _messages(database)[0].state is MessageState.WAITING


def test_slow_receiver_takes_a_few_places_only(database: Database) -> None:
    for url in ("https://93.184.215.14/slow", "https://93.184.215.14/other"):
        _register(database, url, owner=url[-4:])
    for _ in range(6):
        _fail(database, _job(database, owner="slow"))
    _fail(database, _job(database, owner="ther"))
    urls = [message.url[-4:] for message in messages.claim_due(database)]
    assert (urls.count("slow"), urls.count("ther")) == (4, 1)


def test_webhooks_are_limited_removed_with_their_messages_and_old_messages_forgotten(database: Database) -> None:
    made = [_register(database, "https://93.184.215.14/") for _ in range(10)]
    with pytest.raises(Conflict, match="10 webhooks"):
        _register(database, "https://93.184.215.14/")
    _register(database, "https://93.184.215.14/", owner="bob")
    _fail(database, _job(database))
    assert len(_messages(database)) == 10
    with database.write() as session:
        hooks.remove(session, made[0].id, View("alice"))
        with pytest.raises(NotFound):
            hooks.get(session, made[1].id, View("bob"))
        page = hooks.list_webhooks(session, EVERYTHING, limit=4)
    assert len(_messages(database)) == 9 and len(page.rows) == 4 and page.next_cursor is not None
    old = utc_now() - timedelta(days=15)
    with database.write() as session:
        session.execute(update(WebhookMessage).values(due_at=old))
        one = session.scalars(select(WebhookMessage)).first()
        assert one is not None
        one.state = MessageState.DELIVERED
    assert (messages.forget_old(database), len(_messages(database))) == (1, 8)
