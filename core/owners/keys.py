"""API keys in the database: made, listed, revoked. Every function works in the caller's transaction."""

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from core.clock import database_now
from core.database import insert_into, shared_now
from core.errors import Conflict, NotFound, RequestInvalid
from core.owners.scope import Scope
from models.api_key import APIKey
from models.base import new_id

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")

_PREFIX = "misc_"
"""Lets scanners for secrets, and people, tell what a key is for."""

_SECRET_BYTES = 32


@dataclass(frozen=True)
class NewKey:
    """A key to be made; without an owner's name it makes an owner of its own."""

    name: str
    owner: str
    scopes: frozenset[Scope]
    lifetime: timedelta | None = None


def check_name(name: str) -> str:
    """Return the name of a key or an owner as it is; raises RequestInvalid for what is none."""
    if _NAME.fullmatch(name) is None:
        raise RequestInvalid(f"{name[:80]!r} is no name: 1 to 64 letters, digits and . _ @ + -, no sign in front.")
    return name


def create(session: Session, new: NewKey) -> tuple[APIKey, str]:
    """Make a key; returns its row, and the key itself, which cannot be read again.

    Raises RequestInvalid for names that are none, and Conflict where a key of this name is in use.
    """
    for name in (new.name, new.owner):
        check_name(name)
    if not new.scopes:
        raise RequestInvalid(f"A key needs one scope or more of {', '.join(Scope)}.")
    key = _PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    now = shared_now(session)
    values = {
        "id": new_id("key"),
        "name": new.name,
        "owner": new.owner,
        "sha256": digest_of(key),
        "scopes": sorted(new.scopes),
        "created_at": now,
        "expires_at": None if new.lifetime is None else now + new.lifetime,
    }
    statement = insert_into(session, APIKey).values(values).on_conflict_do_nothing().returning(APIKey)
    row = session.scalars(statement).one_or_none()
    if row is None:
        raise Conflict(f"There is a key {new.name!r}; revoke it first, or take another name.")
    return row, key


def list_keys(session: Session, *, with_revoked: bool = False) -> Sequence[APIKey]:
    """The keys, oldest first."""
    query = select(APIKey).order_by(APIKey.id)
    return session.scalars(query if with_revoked else query.where(APIKey.revoked_at.is_(None))).all()


def revoke(session: Session, name: str) -> APIKey:
    """Revoke the key with this name or id; raises NotFound where there is none, or none any more."""
    statement = (
        update(APIKey)
        .where(or_(APIKey.name == name, APIKey.id == name), APIKey.revoked_at.is_(None))
        .values(revoked_at=database_now())
        .returning(APIKey)
    )
    row = session.scalars(statement).first()
    if row is None:
        raise NotFound(f"There is no key {name[:80]!r} that could be revoked.")
    return row


def digest_of(key: str) -> str:
    """SHA-256 of a key, by which it is known."""
    return hashlib.sha256(key.encode()).hexdigest()
