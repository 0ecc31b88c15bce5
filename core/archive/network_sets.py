"""The networks that restore now, as decode workers note them. Every function works in the caller's transaction."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from codec.options import DecodeOptions
from core.database import insert_into
from models.base import utc_now
from models.network_set import NetworkSet

_COARSE = "coarse"
"""The part that a stream names itself; it never changes for an image."""


def name_of(options: DecodeOptions) -> str:
    """What an order's networks are noted under."""
    words = (options.restorer_name.value, options.profile.value, options.network_set)
    return "/".join(word for word in words if word)


def note(session: Session, name: str, weights: Mapping[str, str]) -> bool:
    """Note the networks of a restorer; returns whether they are others than before."""
    row = session.get(NetworkSet, name)
    if row is not None and row.weights == dict(weights):
        return False
    values = {"weights": dict(weights), "noted_at": utc_now()}
    # Workers that start together note the same at the same moment.
    statement = insert_into(session, NetworkSet).values(name=name, **values)
    session.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))
    session.expire_all()
    return True


def is_current(session: Session, options: DecodeOptions, weights: Mapping[str, Any] | None) -> bool:
    """Whether a picture that these networks made is what an order would get now.

    True where no worker has said, and for None, a picture of before networks were noted: deleting it remakes it.
    """
    row = session.get(NetworkSet, name_of(options))
    if row is None or weights is None:
        return True
    return {part: digest for part, digest in weights.items() if part != _COARSE} == row.weights
