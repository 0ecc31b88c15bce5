"""Webhooks: registered, listed, removed. Every function works in the caller's transaction."""

from collections.abc import Collection

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from core.errors import Conflict, NotFound
from core.owners.view import View
from core.paging import Page, newest_page
from core.webhooks import addresses
from core.webhooks.signature import new_secret
from models.base import new_id
from models.webhook import Webhook

_MOST_EACH = 10
"""Webhooks of one owner's jobs, or of one batch: each is a message for each end."""


def register(session: Session, url: str, owner: str, batch_id: str | None, private_hosts: Collection[str]) -> Webhook:
    """Have an address told of the end of a batch, or else of each of the owner's jobs.

    Its address was checked by `addresses.check`, which may take a while. Raises AddressRefused and Conflict.
    """
    addresses.parse(url, private_hosts)
    of_same = (
        (Webhook.owner == owner, Webhook.batch_id.is_(None)) if batch_id is None else (Webhook.batch_id == batch_id,)
    )
    if (session.scalar(select(func.count()).select_from(Webhook).where(*of_same)) or 0) >= _MOST_EACH:
        raise Conflict(f"There are {_MOST_EACH} webhooks for this already; delete one first.")
    webhook = Webhook(id=new_id("whk"), url=url, owner=owner, secret=new_secret(), batch_id=batch_id)
    session.add(webhook)
    session.flush()
    return webhook


def get(session: Session, webhook_id: str, view: View) -> Webhook:
    """The webhook; raises NotFound."""
    webhook = session.get(Webhook, webhook_id)
    if webhook is None or not view.has(webhook):
        raise NotFound(f"There is no webhook {webhook_id!r}.")
    return webhook


def list_webhooks(session: Session, view: View, *, limit: int, before: str | None = None) -> Page[Webhook]:
    """Webhooks, newest first; `before` is the id that the last page ended with."""
    query = select(Webhook).where(*view.conditions(Webhook))
    return newest_page(session, query, Webhook.id, limit=limit, before=before)


def remove(session: Session, webhook_id: str, view: View) -> None:
    """Delete a webhook with its messages; raises NotFound."""
    webhook = get(session, webhook_id, view)
    session.expunge(webhook)
    session.execute(delete(Webhook).where(Webhook.id == webhook_id))
