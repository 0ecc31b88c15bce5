"""Writes images of an archive as an export: verified, in the same bytes for the same images, and signed."""

import hashlib
import json
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

from core.archive import object_lifecycle
from core.archive.exchange.contents import groups_of, opened
from core.archive.exchange.errors import ExportImpossible
from core.archive.exchange.form import Form
from core.archive.exchange.layouts import MANIFEST, SIGNATURE, TAG_MANIFEST, Layout, layout_of
from core.archive.exchange.ledger import File, Ledger
from core.archive.exchange.selection import Selection, pages
from core.archive.exchange.signature import SigningKey
from core.archive.exchange.vessels import Vessel, open_vessel
from core.archive.records.writer import write_missing
from core.database import Database
from core.errors import ObjectCorrupt, ObjectNotFound
from core.storage import Storage

OnFile = Callable[[int, int], object]
"""Told how many files are done, of how many."""


@dataclass(frozen=True)
class Order:
    """What an export is to be of, and in which form."""

    selection: Selection
    form: Form
    with_originals: bool = True

    def to_bytes(self) -> bytes:
        """By which a later run knows whether it is to go on with what an earlier one left."""
        return json.dumps(asdict(self), sort_keys=True).encode()


@dataclass
class Exported:
    """What was written. `left_out`: ids of images of which something in storage is damaged or missing."""

    images: int = 0
    files: int = 0
    size_bytes: int = 0
    left_out: list[str] = field(default_factory=list)


def export(
    database: Database,
    storage: Storage,
    order: Order,
    target: Path,
    key: SigningKey | None = None,
    on_file: OnFile = lambda _done, _total: None,
) -> Exported:
    """Write an export to `target`, a folder or a file that ends in `.tar`; one that was interrupted goes on.

    Images that have no record yet get theirs first. Raises ExportImpossible, NotFound for what is selected and not
    there, OSError of the target, and what the store and the database raise.
    """
    while write_missing(database, storage):
        pass
    layout = layout_of(order.form)
    with Ledger() as ledger:
        while True:
            exported = _plan(database, storage, order, layout, ledger)
            with closing(open_vessel(target, order.to_bytes())) as vessel:
                writing = _Writing(database, storage, vessel, on_file)
                if writing.write_all(ledger, layout, key):
                    return exported
            # Something was damaged, or deleted meanwhile; without its image the rest is whole.
            ledger.clear()


def _plan(database: Database, storage: Storage, order: Order, layout: Layout, ledger: Ledger) -> Exported:
    """Enter every file that is to be written."""
    exported = Exported()
    for images in pages(database, order.selection):
        for group in groups_of(database, storage, images, with_originals=order.with_originals):
            if isinstance(group, str):
                exported.left_out.append(group)
                continue
            exported.images += 1
            for file in layout.place(group):
                ledger.add(file)
    if not exported.images:
        raise ExportImpossible("No image that has a stream is selected, so there is nothing to export.")
    for file in layout.frame():
        ledger.add(file)
    exported.files, exported.size_bytes, _ = ledger.totals()
    return exported


@dataclass
class _Writing:
    """One run that fills a vessel."""

    database: Database
    storage: Storage
    vessel: Vessel
    on_file: OnFile

    def write_all(self, ledger: Ledger, layout: Layout, key: SigningKey | None) -> bool:
        """Write all files and what is around them; False where one of them is not to be had in its bytes."""
        totals = ledger.totals()
        for done, file in enumerate(ledger.each(), start=1):
            try:
                self._write(file)
            except (ObjectCorrupt, ObjectNotFound):
                assert file.key is not None
                object_lifecycle.note_damaged(self.database, file.key)
                return False
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
        return True

    def _write(self, file: File) -> None:
        if not self.vessel.has(file):
            with opened(self.database, self.storage, file) as content:
                self.vessel.add(file, content)


def _line(sha256: str, path: str) -> bytes:
    return f"{sha256}  {path}\n".encode()
