"""Holds an export against its manifests and its signature, whole, before anything of it is taken."""

import contextlib
import hashlib
import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from core.archive.exchange.errors import ExportInvalid, SignerUnknown
from core.archive.exchange.form import Form
from core.archive.exchange.layouts import MANIFEST, SIGNATURE, TAG_MANIFEST, Layout, form_in, layout_of
from core.archive.exchange.ledger import File, Ledger
from core.archive.exchange.signature import MAX_SIGNATURE_BYTES, Signature
from core.archive.exchange.sources import Source, open_source
from core.storage import CHUNK_BYTES
from core.storage.keys import digest_in

_MAX_TAG_BYTES = 64 * 1024
"""Tag manifest, declaration of a bag and its description."""

_MAX_LINE_BYTES = 1000
_LINE = re.compile(rb"(?P<sha256>[0-9a-f]{64})  (?P<path>[!-~]+)\n")

OnFile = Callable[[int, int], object]
"""Told how many files are done, of how many."""


@dataclass(frozen=True)
class Export:
    """An export that is read. `ledger` has its contents, with their digests once it was verified."""

    source: Source
    ledger: Ledger
    form: Form
    around: Mapping[str, File]
    """What the manifest does not list, by path."""

    def read(self, file: File, max_bytes: int) -> bytes:
        """A whole small file; raises ExportInvalid for a larger one, and for one with another digest than it had."""
        if file.size_bytes > max_bytes:
            raise ExportInvalid(f"{file.path} has {file.size_bytes} bytes; at most {max_bytes} were expected.")
        with self.source.open(file) as opened:
            data = opened.read(file.size_bytes)
        if file.sha256 and hashlib.sha256(data).hexdigest() != file.sha256:
            raise _changed(file)
        return data


@contextlib.contextmanager
def opened_export(path: Path) -> Iterator[Export]:
    """The export at `path`, of which nothing is believed yet; raises ExportInvalid and OSError."""
    source = open_source(path)
    with contextlib.closing(source), Ledger() as ledger:
        root: dict[str, File] = {}
        for file in source.files():
            if not ledger.add(file):
                raise ExportInvalid(f"{path} has {file.path} twice.")
            if "/" not in file.path and len(root) < 100:
                root[file.path] = file
        if MANIFEST not in root or TAG_MANIFEST not in root:
            raise ExportInvalid(f"{path} is no whole export: it has no {MANIFEST} with its {TAG_MANIFEST}.")
        yield Export(source, ledger, form_in(set(root)), root)


def check_signer(export: Export, trusted: Mapping[str, str], *, is_trusting: bool) -> str | None:
    """The name of who signed the export, its key where that has no name, None where nobody did.

    Raises SignatureInvalid, and SignerUnknown unless the key is among the trusted (names by key) or `is_trusting`.
    """
    if SIGNATURE not in export.around:
        if not is_trusting:
            raise SignerUnknown("Nobody has signed this export. --untrusted takes it all the same.")
        return None
    signature = Signature.from_bytes(export.read(export.around[SIGNATURE], MAX_SIGNATURE_BYTES))
    signature.verify(export.read(export.around[TAG_MANIFEST], _MAX_TAG_BYTES))
    if signature.key not in trusted and not is_trusting:
        raise SignerUnknown(
            f"The export is signed with the key {signature.key}, which is not trusted. Ask its owner whether it is "
            f"theirs; then `misc keys signing trust {signature.key} --name NAME`. --untrusted takes it all the same."
        )
    return trusted.get(signature.key, signature.key)


def verify(export: Export, on_file: OnFile = lambda _done, _total: None) -> None:
    """Hold every file against the manifests, and its path against the form; raises ExportInvalid and OSError."""
    layout = layout_of(export.form)
    _check_around(export, layout)
    _take_manifest(export, layout)
    total = export.ledger.totals().files
    for done, file in enumerate(export.ledger.each(), start=1):
        _check(export, file, file.sha256)
        on_file(done, total)


def _check_around(export: Export, layout: Layout) -> None:
    """The tag manifest lists the manifest and what the form wants beside it, and no more."""
    tag_manifest = export.read(export.around[TAG_MANIFEST], _MAX_TAG_BYTES)
    listed = dict(_lines(io.BytesIO(tag_manifest), TAG_MANIFEST))
    wanted = {MANIFEST, *layout.tags(export.ledger.totals())}
    if set(listed) != wanted:
        raise ExportInvalid(f"{TAG_MANIFEST} lists other files than {', '.join(sorted(wanted))}.")
    for path, sha256 in listed.items():
        if path not in export.around:
            raise ExportInvalid(f"{path} is not there, though {TAG_MANIFEST} lists it.")
        _check(export, export.around[path], sha256)


def _take_manifest(export: Export, layout: Layout) -> None:
    """Note for each file the digest that the manifest says and the key of its object; the ledger has no others then."""
    ledger = export.ledger
    for path in (MANIFEST, TAG_MANIFEST, SIGNATURE, *layout.tags(ledger.totals())):
        ledger.remove(path)
    with export.source.open(export.around[MANIFEST]) as manifest:
        for path, sha256 in _lines(manifest, MANIFEST):
            if not ledger.note_digest(path, sha256):
                raise ExportInvalid(f"{MANIFEST} lists {path[:100]}, which is not there, or twice.")
    unlisted = ledger.without_digest()
    if unlisted is not None:
        raise ExportInvalid(f"{unlisted.path} is in the export and not in its manifest.")
    for file in ledger.each():
        try:
            key = layout.key_of(file.path)
            if key is not None and digest_in(key) not in (None, file.sha256):
                raise ValueError(f"{file.path} is named after another digest than its own")
            ledger.note_key(file.path, key)
        except ValueError as error:
            raise ExportInvalid(f"The export has a file that belongs to none: {error}.") from None


def _lines(file: IO[bytes], name: str) -> Iterator[tuple[str, str]]:
    """Path and digest of each line; in sorted order, as they are written."""
    before = b""
    while line := file.readline(_MAX_LINE_BYTES):
        match = _LINE.fullmatch(line)
        if match is None or match["path"] <= before:
            raise ExportInvalid(f"{name} has a line that is none of a manifest of ours: {line[:100]!r}.")
        before = match["path"]
        yield before.decode(), match["sha256"].decode()


def _check(export: Export, file: File, sha256: str) -> None:
    digest = hashlib.sha256()
    with export.source.open(file) as opened:
        while chunk := opened.read(CHUNK_BYTES):
            digest.update(chunk)
    if digest.hexdigest() != sha256:
        raise _changed(file)


def _changed(file: File) -> ExportInvalid:
    return ExportInvalid(f"{file.path} has other bytes than were exported. Ask for it again; nothing was taken.")
