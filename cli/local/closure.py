"""The networks of this machine beside those that the archive needs and keeps."""

from pathlib import Path
from typing import TYPE_CHECKING

from cli.local.paths import weights_store

if TYPE_CHECKING:
    from cli.local.archive import Archive
    from codec.weights.index import Record
    from codec.weights.store import WeightsStore
    from core.archive.closure import Standing
    from core.archive.networks import NetworkCard


def closure_of(archive: "Archive") -> list["Standing"]:
    """Every network that streams of the archive need; those of this machine count as held."""
    from core.archive.closure import closure

    names = {sha256: record.name for sha256, record in weights_store().installed().items()}
    return closure(archive.database, archive.copies.storage, names)


def networks_here() -> list[tuple["NetworkCard", Path]]:
    """What is installed on this machine, as the archive describes it, with its files; nothing is hashed."""
    store = weights_store()
    return [(card_of(record), store.file_of(record)) for record in store.installed().values()]


def card_of(record: "Record") -> "NetworkCard":
    """What the archive writes down of a network."""
    from core.archive.networks import NetworkCard

    licence = record.licence
    return NetworkCard(
        sha256=record.sha256,
        size_bytes=record.bytes,
        name=record.name,
        part=record.part.value,
        architecture=record.architecture,
        suffix="".join(Path(record.file).suffixes[-2:]),
        profiles=tuple(profile.value for profile in record.profiles),
        rate=record.rate,
        scale=record.scale,
        licence=None if licence is None else licence.identifier,
        licence_link="" if licence is None else licence.link,
    )


def take_back(store: "WeightsStore", archive: "Archive", card: "NetworkCard") -> bool:
    """Put a network that the archive keeps among those of this machine; False where it is there already.

    Raises CodecError where its name is in use for another, and what the store and the database raise.
    """
    from codec.options import Profile
    from codec.weights.manifest import Licence, Part
    from core.archive import networks

    if card.sha256 in store.installed():
        return False
    incoming = store.incoming(f"{card.name}.archived{card.suffix}")
    try:
        networks.fetch(archive.database, archive.copies.storage, card, incoming)
        store.add(
            incoming,
            name=card.name,
            part=Part(card.part),
            architecture=card.architecture,
            profiles=tuple(Profile(profile) for profile in card.profiles),
            rate=card.rate,
            licence=None if card.licence is None else Licence(card.licence, card.licence_link),
        )
    finally:
        incoming.unlink(missing_ok=True)
    return True
