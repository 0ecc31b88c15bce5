"""`/v1/webhooks`: have an address told of what ends, look at what it was told, have it told again."""

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from api.audit import note_objects
from api.auth import CallerDependency
from api.identifiers import Limit, MessageCursor, MessageId, WebhookCursor, WebhookId, check_batch_id
from api.services import Services, ServicesDependency
from api.webhooks.schemas import (
    MessageOut,
    MessagePage,
    NewWebhook,
    RegisteredWebhook,
    WebhookOut,
    WebhookPage,
    message_to_out,
    to_out,
)
from core.archive import batches
from core.owners.caller import Caller
from core.webhooks import addresses, hooks, messages

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])


@router.post("", status_code=201, summary="Register a webhook")
async def register_webhook(
    request: Request, services: ServicesDependency, caller: CallerDependency, new: NewWebhook
) -> RegisteredWebhook:
    """Messages are those of Standard Webhooks: `job.succeeded`, `job.failed` and `job.cancelled` of the owner's encodes
    and decodes, or `batch.ended` of one batch. The address needs https and must not lead into a private network;
    redirects are not followed. What is not answered with a 2xx is sent again for four days. The secret is shown this
    once."""
    registered = await run_in_threadpool(_register, services, caller, new)
    note_objects(request.scope, {"id": registered.id})
    return registered


@router.get("", summary="List webhooks")
def list_webhooks(
    services: ServicesDependency, caller: CallerDependency, limit: Limit = 50, cursor: WebhookCursor = None
) -> WebhookPage:
    """A page of webhooks, newest first."""
    with services.database.read() as session:
        page = hooks.list_webhooks(session, caller.view, limit=limit, before=cursor)
    return WebhookPage(items=[to_out(row) for row in page.rows], next_cursor=page.next_cursor)


@router.get("/{webhook_id}", summary="Look at a webhook")
def get_webhook(services: ServicesDependency, caller: CallerDependency, webhook_id: WebhookId) -> WebhookOut:
    """Its address, and what it is told of."""
    with services.database.read() as session:
        return to_out(hooks.get(session, webhook_id, caller.view))


@router.delete("/{webhook_id}", status_code=204, summary="Delete a webhook")
def delete_webhook(services: ServicesDependency, caller: CallerDependency, webhook_id: WebhookId) -> Response:
    """With all its messages."""
    with services.database.write() as session:
        hooks.remove(session, webhook_id, caller.view)
    return Response(status_code=204)


@router.get("/{webhook_id}/messages", summary="List messages of a webhook")
def list_messages(
    services: ServicesDependency,
    caller: CallerDependency,
    webhook_id: WebhookId,
    limit: Limit = 50,
    cursor: MessageCursor = None,
) -> MessagePage:
    """Newest first, with their attempts; those that have ended are kept for 14 days."""
    with services.database.read() as session:
        hooks.get(session, webhook_id, caller.view)
        page = messages.list_messages(session, webhook_id, limit=limit, before=cursor)
    return MessagePage(items=[message_to_out(row) for row in page.rows], next_cursor=page.next_cursor)


@router.post("/{webhook_id}/messages/{message_id}/replay", status_code=202, summary="Send a message again")
def replay_message(
    services: ServicesDependency, caller: CallerDependency, webhook_id: WebhookId, message_id: MessageId
) -> MessageOut:
    """Also one that was delivered. It keeps its `webhook-id`, and has all its attempts again."""
    with services.database.write() as session:
        hooks.get(session, webhook_id, caller.view)
        return message_to_out(messages.replay(session, webhook_id, message_id))


def _register(services: Services, caller: Caller, new: NewWebhook) -> RegisteredWebhook:
    private_hosts = services.webhook_settings.private_hosts
    owner, batch_id = caller.owner, new.batch_id
    if batch_id is not None:
        with services.database.read() as session:
            owner = batches.get(session, check_batch_id(batch_id), caller.view).owner
    addresses.check(new.url, private_hosts)
    with services.database.write() as session:
        webhook = hooks.register(session, new.url, owner, batch_id, private_hosts)
        return RegisteredWebhook(**dict(to_out(webhook)), secret=webhook.secret)
