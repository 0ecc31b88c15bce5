"""Which networks the streams of the archive need, and whether they are held: what is missing is told before anybody
wants a picture that cannot be made."""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import Text, cast, func, select
from sqlalchemy.orm import Session

from codec.bitstream import unpack
from codec.errors import CodecError
from core.archive import bitstreams, networks
from core.database import Database
from core.errors import Conflict, ObjectCorrupt, ObjectNotFound
from core.storage import Storage
from models.image import Image, ImageState

_AT_ONCE = 500
_NET = "net"

COARSE = "coarse"
"""The part without which a stream cannot be read; any other that it names is a preference."""


@dataclass(frozen=True)
class Need:
    """A network that streams name, by part and the beginning of its digest, and how many images have such streams."""

    part: str
    prefix: str
    images: int

    @property
    def is_binding(self) -> bool:
        """Whether the streams cannot be read without it."""
        return self.part == COARSE


@dataclass(frozen=True)
class Standing:
    """Whether a network is held. `sha256` and `name` are known where it is."""

    need: Need
    is_installed: bool
    is_stored: bool
    sha256: str | None = None
    name: str | None = None

    @property
    def is_missing(self) -> bool:
        """Whether streams cannot be read, as far as is known here."""
        return self.need.is_binding and not self.is_installed and not self.is_stored


def closure(database: Database, storage: Storage, installed: Mapping[str, str]) -> list[Standing]:
    """Every network that streams need, what is missing first; `installed` are names by digest.

    Reads the row of every image, and those streams whose networks were not noted when they came in.
    """
    kept = networks.stored(database, storage)
    found = []
    for need in needs(database, storage):
        here = _first(installed, need.prefix)
        there = _first(kept, need.prefix)
        sha256 = here or there
        name = installed[here] if here is not None else kept[there].name if there is not None else None
        found.append(Standing(need, here is not None, there is not None, sha256, name))
    return sorted(found, key=lambda one: (not one.is_missing, one.need.part, one.need.prefix))


def needs(database: Database, storage: Storage) -> list[Need]:
    """The networks that streams name."""
    counts: Counter[tuple[str, str]] = Counter()
    with database.read() as session:
        # JSON has no equality in PostgreSQL; as text rows that name the same networks are the same.
        words = cast(Image.networks, Text)
        query = select(words, func.count()).where(_IS_READY, Image.networks.is_not(None)).group_by(words)
        for text, count in session.execute(query):
            for part, prefix in json.loads(text).items():
                counts[part, prefix] += count
    for sha256, count in _unnoted(database):
        for part, prefix in named_by(database, storage, sha256).items():
            counts[part, prefix] += count
    return [Need(part, prefix, count) for (part, prefix), count in sorted(counts.items())]


def delete(database: Database, storage: Storage, sha256: str) -> None:
    """Delete a stored network that no stream names; raises Conflict for one that some do.

    A stream that names it and comes in at this moment is told as one that misses its network.
    """
    for need in needs(database, storage):
        if sha256.startswith(need.prefix):
            raise Conflict(
                f"The network {sha256[:16]} is named by the streams of {need.images} images, as {need.part}. Delete "
                "those first, or keep it."
            )
    networks.delete(database, storage, sha256)


def named_by(database: Database, storage: Storage, sha256: str) -> dict[str, str]:
    """The networks that a stream names itself; none for one that cannot be read, of which fixity tells."""
    try:
        stream = unpack(bitstreams.get(database, storage, sha256)).stream
    except (CodecError, ObjectCorrupt, ObjectNotFound):
        return {}
    return {} if stream.coarse_network is None else {COARSE: stream.coarse_network.hex()}


def images_naming(session: Session, need: Need, limit: int) -> list[str]:
    """Ids of images whose streams name a network, as far as it was noted when they came in."""
    query = select(Image.id).where(_IS_READY, Image.networks[need.part].as_string() == need.prefix)
    return list(session.scalars(query.order_by(Image.id).limit(limit)))


_IS_READY = Image.state == ImageState.READY


def _unnoted(database: Database) -> Iterator[tuple[str, int]]:
    """Digests of streams whose networks were not noted, those of learned codecs alone: others name none."""
    after = ""
    while True:
        with database.read() as session:
            query = select(Image.bitstream_sha256, func.count()).where(
                _IS_READY, Image.networks.is_(None), Image.mode == _NET, Image.bitstream_sha256 > after
            )
            query = query.group_by(Image.bitstream_sha256).order_by(Image.bitstream_sha256).limit(_AT_ONCE)
            rows = session.execute(query).all()
        if not rows:
            return
        yield from ((str(sha256), count) for sha256, count in rows)
        after = str(rows[-1][0])


def _first(digests: Collection[str], prefix: str) -> str | None:
    return next((digest for digest in sorted(digests) if digest.startswith(prefix)), None)
