"""Networks that are kept in the archive's storage under their digests, so that its streams can be read when nobody
publishes them any more. Knows no library of networks: a file of weights is bytes, and its card says what it is."""

import json
from collections.abc import Iterator
from hashlib import sha256 as sha256_of
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from sqlalchemy import delete as sql_delete
from sqlalchemy import select

from core.archive import deletions, fixity, inventory, object_lifecycle
from core.archive.fixity import Outcome
from core.archive.inventory import Entry
from core.archive.object_lifecycle import NewObject
from core.database import Database
from core.errors import ObjectCorrupt
from core.logging import get_logger
from core.storage import Storage
from core.storage.keys import NETWORKS, digest_in, network_card_key, network_key
from core.storage.mirrored import Copies
from core.storage.verified import fetch_file
from models.stored_object import ObjectKind, StoredObject

_log = get_logger(__name__)

MAX_CARD_BYTES = 64 * 1024

_Word = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class NetworkCard(BaseModel):
    """What a network is: everything that is needed to put its file to use again. `suffix` is its file's."""

    model_config = ConfigDict(frozen=True)

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: int = Field(ge=1)
    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")]
    part: _Word
    architecture: _Word
    suffix: Annotated[str, StringConstraints(pattern=r"^(\.[0-9a-z]{1,12}){0,2}$")]
    profiles: tuple[_Word, ...] = ()
    rate: int | None = None
    scale: int | None = None
    licence: _Word | None = None
    licence_link: Annotated[str, StringConstraints(max_length=500)] = ""

    @property
    def key(self) -> str:
        """Of the object with the file of weights."""
        return network_key(self.sha256)

    def to_bytes(self) -> bytes:
        """The file: equal cards give equal bytes."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, indent=1).encode() + b"\n"

    def as_object(self) -> NewObject:
        """The object with the card itself."""
        data = self.to_bytes()
        digest = sha256_of(data).hexdigest()
        return NewObject(network_card_key(digest), digest, len(data))

    @classmethod
    def from_bytes(cls, data: bytes, key: str) -> Self:
        """The card in a file; raises ObjectCorrupt, which names the key, for anything else."""
        try:
            return cls.model_validate_json(data)
        except (ValidationError, ValueError) as error:
            raise ObjectCorrupt(f"{key} is no card of a network that this version can read") from error


def store(database: Database, copies: Copies, card: NetworkCard, file: Path) -> bool:
    """Keep a network; False where it is kept and whole already. It is read back before it counts.

    Raises ObjectCorrupt for a file with another digest than its card says, and what the store and the database raise.
    """
    if card.sha256 in stored(database, copies.storage):
        return False
    storage = copies.as_one()
    # The card comes last: a network without one is not in use yet.
    for new, data in ((NewObject(card.key, card.sha256, card.size_bytes), file), (card.as_object(), card.to_bytes())):
        object_lifecycle.store(database, storage, new, data)
        with database.write() as session:
            object_lifecycle.retain(session, new)
        with database.read() as session:
            row = session.get_one(StoredObject, new.key)
        if fixity.verify(database, copies, row) not in (Outcome.INTACT, Outcome.MIRRORED, Outcome.RESTORED):
            raise ObjectCorrupt(f"{new.key} was stored and does not come back as it was; run the command again")
    _log.info("network_stored", name=card.name, sha256=card.sha256)
    return True


def stored(database: Database, storage: Storage) -> dict[str, NetworkCard]:
    """Cards of the networks that the storage has and nobody found damaged, by digest."""
    with database.read() as session:
        query = select(StoredObject.key).where(
            StoredObject.kind == ObjectKind.NETWORK, StoredObject.damaged_at.is_(None)
        )
        keys = set(session.scalars(query))
    return {card.sha256: card for card in _cards(storage, keys) if card.key in keys}


def delete(database: Database, storage: Storage, sha256: str) -> None:
    """Delete a stored network with its cards, whoever needs it; killed in between, a sweep goes on with it.

    Raises what the store and the database raise.
    """
    with database.read() as session:
        query = select(StoredObject.key).where(StoredObject.kind == ObjectKind.NETWORK)
        keys = set(session.scalars(query))
    going = sorted(
        [network_key(sha256), *(card.as_object().key for card in _cards(storage, keys) if card.sha256 == sha256)]
    )
    with database.write() as session:
        for key in going:
            object_lifecycle.drop(session, key, shared=False)
        # What no row of the catalogue names is not kept any more.
        session.execute(sql_delete(StoredObject).where(StoredObject.key.in_(going)))
    for key in going:
        deletions.remove(database, storage, key)
    _log.info("network_deleted", sha256=sha256)


def fetch(database: Database, storage: Storage, card: NetworkCard, target: Path) -> None:
    """Write a network into a file, verified; raises ObjectCorrupt (noted), ObjectNotFound, SpaceExhausted."""
    with object_lifecycle.damage_noted(database, card.key):
        fetch_file(storage, card.key, target, card.sha256, f"There is no room for {card.name} in {target.parent}.")


def enter_stored(database: Database, storage: Storage) -> None:
    """Note the networks that are in storage, for a database that was made anew."""
    infos = {info.key: info for info in storage.list(NETWORKS)}
    with database.write() as session:
        inventory.enter(session, [Entry(key, digest_in(key) or "", info.size_bytes) for key, info in infos.items()])


def _cards(storage: Storage, keys: set[str]) -> Iterator[NetworkCard]:
    for key in sorted(key for key in keys if key.endswith(".json")):
        try:
            yield NetworkCard.from_bytes(storage.get(key, max_bytes=MAX_CARD_BYTES, sha256=digest_in(key)), key)
        except ObjectCorrupt as error:
            _log.warning("network_card_unreadable", key=key, error=str(error))
