"""Messages to webhooks: written in the transaction of what they tell of, claimed to be sent, replayed, forgotten."""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from sqlalchemy import Table, bindparam, delete, exists, insert, select, type_coerce, update
from sqlalchemy.orm import Session
from sqlalchemy.types import String

from core.archive import batches
from core.clock import database_now
from core.database import Database
from core.errors import NotFound
from core.owners.view import EVERYTHING
from core.paging import Page, newest_page
from models.base import new_id, utc_now
from models.job import Job, JobKind, JobState
from models.webhook import Webhook
from models.webhook_message import ERROR_LENGTH, MessageState, WebhookMessage

_PAUSES = tuple(timedelta(seconds=seconds) for seconds in (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400))
"""After each attempt that failed, as Standard Webhooks proposes: all in all four days."""

_CLAIM = timedelta(seconds=60)
"""Longer than an attempt takes; a process that died at it gives the message back so."""

_KEPT = timedelta(days=14)
"""For how long a message that has ended can be looked at and replayed."""

_LOOKED_AT, _OF_ONE_WEBHOOK = 200, 4
"""Of what is due so many are looked at, and a few of each webhook sent at once: one that is slow holds up no other."""

_FORGOTTEN_AT_ONCE = 1000

_MESSAGES, _JOBS, _HOOKS = (cast(Table, kind.__table__) for kind in (WebhookMessage, Job, Webhook))

# Every job passes here: built once, and answered by an index that has no row for most owners.
_LISTENERS = (
    select(
        _HOOKS.c.id,
        type_coerce(_JOBS.c.kind, String),
        _JOBS.c.image_id,
        _JOBS.c.reconstruction_id,
        _JOBS.c.batch_id,
        _JOBS.c.error_code,
    )
    .join(_JOBS, _JOBS.c.owner == _HOOKS.c.owner)
    .where(
        _JOBS.c.id == bindparam("job_id"),
        _JOBS.c.kind != JobKind.PROBE,
        _HOOKS.c.batch_id.is_(None),
        _HOOKS.c.gone_at.is_(None),
    )
)


@dataclass(frozen=True)
class ClaimedMessage:
    """The right to make one attempt to send a message."""

    id: str
    webhook_id: str
    url: str
    secret: str
    body: str
    attempt: int


def note_job_end(session: Session, job_id: str, state: JobState) -> None:
    """Write the messages of a job that ends in this transaction, after its row was changed."""
    for webhook_id, kind, image_id, reconstruction_id, batch_id, code in session.execute(
        _LISTENERS, {"job_id": job_id}
    ).all():
        data = {
            "id": job_id,
            "kind": kind,
            "state": state.value,
            "image_id": image_id,
            "reconstruction_id": reconstruction_id,
            "batch_id": batch_id,
            "error_code": code if state is JobState.FAILED else None,
        }
        _write(session, webhook_id, f"job.{state.value}", job_id, data)


def note_ended_batches(database: Database) -> int:
    """Write the messages of batches that are done; returns how many.

    Not with the last job, because two that end at once in PostgreSQL take each other for open.
    """
    is_open = exists(select(Job.id).where(Job.batch_id == Webhook.batch_id, Job.state.in_(_OPEN)))
    waiting = select(Webhook.id, Webhook.batch_id).where(
        Webhook.batch_id.is_not(None), Webhook.told_at.is_(None), Webhook.gone_at.is_(None), ~is_open
    )
    with database.read() as session:
        rows = session.execute(waiting.order_by(Webhook.id)).all()
    return sum(_note_end(database, webhook_id, batch_id) for webhook_id, batch_id in rows if batch_id is not None)


def claim_due(database: Database) -> list[ClaimedMessage]:
    """Messages to be sent now, each by nobody else for a minute."""
    is_due = (WebhookMessage.state == MessageState.WAITING, WebhookMessage.due_at <= database_now())
    due = select(WebhookMessage.id, WebhookMessage.webhook_id).where(*is_due).order_by(WebhookMessage.due_at)
    with database.read() as session:
        rows = session.execute(due.limit(_LOOKED_AT)).all()
    if not rows:
        return []
    of_each: dict[str, list[str]] = {}
    for message_id, webhook_id in rows:
        of_each.setdefault(webhook_id, []).append(message_id)
    ids = sorted(one for found in of_each.values() for one in found[:_OF_ONE_WEBHOOK])
    with database.write() as session:
        claimed = session.execute(
            update(WebhookMessage)
            .where(WebhookMessage.id.in_(ids), *is_due)
            .values(due_at=database_now(_CLAIM), attempts=WebhookMessage.attempts + 1)
            .returning(WebhookMessage.id, WebhookMessage.webhook_id, WebhookMessage.body, WebhookMessage.attempts),
            execution_options={"synchronize_session": False},
        ).all()
        hooks = {hook.id: hook for hook in session.scalars(select(Webhook).where(Webhook.id.in_(list(of_each))))}
        return [
            ClaimedMessage(message_id, webhook_id, hooks[webhook_id].url, hooks[webhook_id].secret, body, attempt)
            for message_id, webhook_id, body, attempt in claimed
            if webhook_id in hooks
        ]


def record_delivered(database: Database, message: ClaimedMessage, status: int) -> None:
    """Note that the receiver has it."""
    _record(database, message, state=MessageState.DELIVERED, status=status, error=None, ended_at=utc_now())


def record_failed(database: Database, message: ClaimedMessage, status: int | None, error: str) -> None:
    """Note an attempt that failed: another one follows after a pause that grows, or none after the last."""
    failure: dict[str, Any] = {"status": status, "error": error[:ERROR_LENGTH]}
    if message.attempt > len(_PAUSES):
        _record(database, message, state=MessageState.FAILED, ended_at=utc_now(), **failure)
        return
    # A share by chance parts messages that failed together.
    pause = _PAUSES[message.attempt - 1] * random.uniform(1.0, 1.2)
    _record(database, message, due_at=database_now(pause), **failure)


def record_gone(database: Database, message: ClaimedMessage, status: int) -> None:
    """Note that the receiver wants no more: nothing of this webhook is sent or written any more."""
    with database.write() as session:
        session.execute(update(Webhook).where(Webhook.id == message.webhook_id).values(gone_at=utc_now()))
        session.execute(
            update(WebhookMessage)
            .where(WebhookMessage.webhook_id == message.webhook_id, WebhookMessage.state == MessageState.WAITING)
            .values(state=MessageState.FAILED, status=status, error="The receiver is gone.", ended_at=utc_now())
        )


def list_messages(session: Session, webhook_id: str, *, limit: int, before: str | None = None) -> Page[WebhookMessage]:
    """Messages of a webhook, newest first; `before` is the id that the last page ended with."""
    query = select(WebhookMessage).where(WebhookMessage.webhook_id == webhook_id)
    return newest_page(session, query, WebhookMessage.id, limit=limit, before=before)


def replay(session: Session, webhook_id: str, message_id: str) -> WebhookMessage:
    """Have a message sent again, as if it were new, also one that was delivered; raises NotFound.

    It keeps its id, by which the receiver knows it.
    """
    message = session.get(WebhookMessage, message_id, with_for_update=True)
    if message is None or message.webhook_id != webhook_id:
        raise NotFound(f"There is no message {message_id!r}.")
    message.state, message.attempts, message.due_at, message.ended_at = MessageState.WAITING, 0, utc_now(), None
    session.execute(update(Webhook).where(Webhook.id == webhook_id).values(gone_at=None))
    return message


def forget_old(database: Database) -> int:
    """Delete messages that ended long ago; returns how many."""
    old = select(WebhookMessage.id).where(
        WebhookMessage.state.in_((MessageState.DELIVERED, MessageState.FAILED)),
        WebhookMessage.due_at < database_now(-_KEPT),
    )
    with database.write() as session:
        ids = list(session.scalars(old.limit(_FORGOTTEN_AT_ONCE)))
        session.execute(delete(WebhookMessage).where(WebhookMessage.id.in_(ids)))
    return len(ids)


_OPEN = [state for state in JobState if not state.is_final]


def _note_end(database: Database, webhook_id: str, batch_id: str) -> bool:
    with database.write() as session:
        counts = batches.count(session, batch_id)
        if not counts.is_done or (counts.total == 0 and counts.expected is None):
            return False
        told = update(Webhook).where(Webhook.id == webhook_id, Webhook.told_at.is_(None)).values(told_at=utc_now())
        if session.execute(told.returning(Webhook.id)).one_or_none() is None:
            return False
        data = {
            "id": batch_id,
            "name": batches.get(session, batch_id, EVERYTHING).name,
            "total": counts.total,
            "expected": counts.expected,
            "rejections": counts.rejected,
            "counts": {state.value: count for state, count in counts.by_state.items()},
        }
        _write(session, webhook_id, "batch.ended", batch_id, data)
        return True


def _write(session: Session, webhook_id: str, kind: str, subject: str, data: Mapping[str, Any]) -> None:
    body = json.dumps({"type": kind, "timestamp": utc_now().isoformat(), "data": dict(data)}, ensure_ascii=False)
    session.execute(
        insert(_MESSAGES).values(
            id=new_id("msg"),
            webhook_id=webhook_id,
            kind=kind,
            subject=subject,
            body=body,
            state=MessageState.WAITING,
            due_at=database_now(),
            attempts=0,
            created_at=utc_now(),
        )
    )


def _record(database: Database, message: ClaimedMessage, **values: Any) -> None:
    # One that was replayed or given back meanwhile is somebody else's.
    is_claimed = (_MESSAGES.c.id == message.id, _MESSAGES.c.attempts == message.attempt)
    database.execute_alone(update(_MESSAGES).where(*is_claimed).values(**values))
