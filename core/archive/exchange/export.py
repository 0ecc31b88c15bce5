"""Writes images of an archive as an export: verified, in the same bytes for the same images, and signed."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

from core.archive import closure, networks, object_lifecycle
from core.archive.exchange.contents import groups_of, network_group, opened
from core.archive.exchange.errors import ExportImpossible
from core.archive.exchange.form import Form
from core.archive.exchange.layouts import MANIFEST, SIGNATURE, TAG_MANIFEST, Group, Layout, layout_of
from core.archive.exchange.ledger import File, Ledger
from core.archive.exchange.selection import Selection, pages
from core.archive.exchange.signature import SigningKey
from core.archive.exchange.vessels import Vessel, open_vessel
from core.archive.networks import NetworkCard
from core.archive.records.writer import write_missing
from core.database import Database
from core.errors import ObjectCorrupt, ObjectNotFound
from core.storage import Storage
from models.image import Image

OnFile = Callable[[int, int], object]
"""Told how many files are done, of how many."""


@dataclass(frozen=True)
class Order:
    """What an export is to be of, and in which form."""

    selection: Selection
    form: Form
    with_originals: bool = True
    with_networks: bool = False

    def to_bytes(self) -> bytes:
        """By which a later run knows whether it is to go on with what an earlier one left."""
        return json.dumps(asdict(self), sort_keys=True).encode()


@dataclass
class Exported:
    """What was written. `left_out`: ids of images of which something in storage is damaged or missing; `missing`: the
    beginnings of the digests of networks that were to come along and are not held."""

    images: int = 0
    files: int = 0
    size_bytes: int = 0
    left_out: list[str] = field(default_factory=list)
    networks: int = 0
    missing: list[str] = field(default_factory=list)


def export(
    database: Database,
    storage: Storage,
    order: Order,
    target: Path,
    key: SigningKey | None = None,
    installed: Sequence[tuple[NetworkCard, Path]] = (),
    on_file: OnFile = lambda _done, _total: None,
) -> Exported:
    """Write an export to `target`, a folder or a file that ends in `.tar`; one that was interrupted goes on.

    Networks come from the archive, else from the `installed` of this machine. Images that have no record yet get theirs
    first. Raises ExportImpossible, NotFound for what is selected and not there, OSError of the target, and what the
    store and the database raise.
    """
    while write_missing(database, storage):
        pass
    layout = layout_of(order.form)
    lost: set[str] = set()
    with Ledger() as ledger:
        while True:
            exported = _Plan(database, storage, order, layout, ledger, lost).fill(installed)
            with closing(open_vessel(target, order.to_bytes())) as vessel:
                missing = _Writing(database, storage, vessel, on_file).write_all(ledger, layout, key)
            if missing is None:
                return exported
            # It was damaged, or deleted meanwhile; without its image the rest is whole.
            lost.add(missing)
            ledger.clear()


@dataclass
class _Plan:
    """Enters every file that is to be written; `lost` are keys of objects that cannot be had."""

    database: Database
    storage: Storage
    order: Order
    layout: Layout
    ledger: Ledger
    lost: set[str]

    def fill(self, installed: Sequence[tuple[NetworkCard, Path]]) -> Exported:
        """Enter all; returns what it comes to."""
        exported, prefixes = Exported(), set[str]()
        for images in pages(self.database, self.order.selection):
            for group in groups_of(
                self.database, self.storage, images, self.lost, with_originals=self.order.with_originals
            ):
                if isinstance(group, str):
                    exported.left_out.append(group)
                    continue
                exported.images += 1
                self._enter(group)
            if self.order.with_networks:
                prefixes.update(self._named_by(images))
        if not exported.images:
            raise ExportImpossible("No image that has a stream is selected, so there is nothing to export.")
        self._enter_networks(exported, prefixes, installed)
        for file in self.layout.frame():
            self.ledger.add(file)
        exported.files, exported.size_bytes, _ = self.ledger.totals()
        return exported

    def _enter(self, group: Group) -> None:
        for file in self.layout.place(group):
            self.ledger.add(file)

    def _named_by(self, images: Sequence[Image]) -> Iterator[str]:
        for image in images:
            named = image.networks
            if named is None and image.bitstream_sha256 is not None:
                named = closure.named_by(self.database, self.storage, image.bitstream_sha256)
            yield from (named or {}).values()

    def _enter_networks(
        self, exported: Exported, prefixes: set[str], installed: Sequence[tuple[NetworkCard, Path]]
    ) -> None:
        kept = networks.stored(self.database, self.storage) if prefixes else {}
        sources = [*installed, *((card, None) for card in kept.values())]
        held = {card.sha256: network_group(card, source) for card, source in sources if card.key not in self.lost}
        chosen: dict[str, str] = {}
        for prefix in sorted(prefixes):
            found = next((sha256 for sha256 in sorted(held) if sha256.startswith(prefix)), None)
            if found is None:
                exported.missing.append(prefix)
            else:
                chosen[prefix] = found
        for sha256 in sorted(set(chosen.values())):
            exported.networks += 1
            self._enter(held[sha256])


@dataclass
class _Writing:
    """One run that fills a vessel."""

    database: Database
    storage: Storage
    vessel: Vessel
    on_file: OnFile

    def write_all(self, ledger: Ledger, layout: Layout, key: SigningKey | None) -> str | None:
        """Write all files and what is around them; returns the key of an object that is not to be had in its bytes."""
        totals = ledger.totals()
        for done, file in enumerate(ledger.each(), start=1):
            try:
                self._write(file)
            except (ObjectCorrupt, ObjectNotFound):
                assert file.key is not None
                object_lifecycle.note_damaged(self.database, file.key)
                return file.key
            self.on_file(done, totals.files)
        with tempfile.TemporaryFile() as manifest:
            digest = hashlib.sha256()
            for file in ledger.each():
                line = _line(file.sha256, file.path)
                digest.update(line)
                manifest.write(line)
            listed = File(MANIFEST, manifest.tell(), digest.hexdigest(), moment=totals.moment)
            manifest.seek(0)
            if not self.vessel.has(listed):
                self.vessel.add(listed, manifest)
        tags = dict(layout.tags(totals))
        digests = {MANIFEST: listed.sha256} | {path: hashlib.sha256(data).hexdigest() for path, data in tags.items()}
        tags[TAG_MANIFEST] = b"".join(_line(sha256, path) for path, sha256 in sorted(digests.items()))
        if key is not None:
            tags[SIGNATURE] = key.sign(tags[TAG_MANIFEST])
        for path, data in sorted(tags.items()):
            sha256 = hashlib.sha256(data).hexdigest()
            self._write(File(path, len(data), sha256, moment=totals.moment, data=data))
        around = {MANIFEST, *tags}
        self.vessel.finish(lambda path: path in around or ledger.at(path) is not None)
        return None

    def _write(self, file: File) -> None:
        if not self.vessel.has(file):
            with opened(self.database, self.storage, file) as content:
                self.vessel.add(file, content)


def _line(sha256: str, path: str) -> bytes:
    return f"{sha256}  {path}\n".encode()
