"""How webhooks and their messages look over HTTP."""

from datetime import datetime

from pydantic import BaseModel, Field

from codec.strict_json import StrictModel
from models.webhook import URL_LENGTH, Webhook
from models.webhook_message import MessageState, WebhookMessage


class NewWebhook(StrictModel):
    """An address to be told of what ends."""

    url: str = Field(max_length=URL_LENGTH, examples=["https://example.com/misc"])
    batch_id: str | None = Field(
        None, description="Told of the end of this batch, once; else of each of the owner's jobs."
    )


class WebhookOut(BaseModel):
    """A webhook."""

    id: str = Field(examples=["whk_01kb2c9q0r5w3v7x1y8z4t6n2m"])
    owner: str = Field(description="Whose it is.", examples=["default"])
    url: str
    batch_id: str | None
    created_at: datetime
    told_at: datetime | None = Field(description="When the end of the batch was noted.")
    gone_at: datetime | None = Field(description="When the receiver answered 410: it is told nothing more.")


class RegisteredWebhook(WebhookOut):
    """A webhook with its secret, which is shown this once."""

    secret: str = Field(description="What libraries of Standard Webhooks verify messages with.")


class WebhookPage(BaseModel):
    """Webhooks, newest first."""

    items: list[WebhookOut]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last.")


class MessageOut(BaseModel):
    """A message of a webhook, and how its delivery stands."""

    id: str = Field(description="The header `webhook-id` of all attempts.", examples=["msg_01kb2c9q0r5w3v7x1y8z4t6n2m"])
    kind: str = Field(examples=["job.succeeded"])
    subject: str = Field(description="The job or batch that it tells of.")
    body: str = Field(description="What is sent.")
    state: MessageState
    attempts: int
    due_at: datetime = Field(description="Of the next attempt, while it waits.")
    status: int | None = Field(description="What the receiver answered last.")
    error: str | None = Field(description="Why the last attempt failed.")
    created_at: datetime
    ended_at: datetime | None


class MessagePage(BaseModel):
    """Messages, newest first."""

    items: list[MessageOut]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last.")


def to_out(webhook: Webhook) -> WebhookOut:
    """The webhook as it looks over HTTP, without its secret."""
    return WebhookOut(
        id=webhook.id,
        owner=webhook.owner,
        url=webhook.url,
        batch_id=webhook.batch_id,
        created_at=webhook.created_at,
        told_at=webhook.told_at,
        gone_at=webhook.gone_at,
    )


def message_to_out(message: WebhookMessage) -> MessageOut:
    """The message as it looks over HTTP."""
    return MessageOut(
        id=message.id,
        kind=message.kind,
        subject=message.subject,
        body=message.body,
        state=message.state,
        attempts=message.attempts,
        due_at=message.due_at,
        status=message.status,
        error=message.error,
        created_at=message.created_at,
        ended_at=message.ended_at,
    )
