"""Where the files of an export lie in it, and which files belong around them: BagIt, OCFL, or plain.

Everything follows from the images alone, so that an export of the same images is the same wherever it is made: no
date, no program's version and no place is written down.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from core.archive.exchange.form import Form
from core.archive.exchange.ledger import File, Totals
from core.storage.keys import check_key, fan_out

MANIFEST, TAG_MANIFEST, SIGNATURE = "manifest-sha256.txt", "tagmanifest-sha256.txt", "signature.json"
"""Digests of all files; the digests of what is around them; the signature over that. In every form."""


@dataclass(frozen=True)
class Group:
    """What belongs to one image, or to one network: files with their keys, whose paths are still to be given."""

    id: str
    created_at: datetime
    files: Sequence[File]


class Layout(Protocol):
    """The rules of one form."""

    def place(self, group: Group) -> Iterator[File]:
        """The files of a group at their paths, and those that the form wants beside them."""
        ...

    def frame(self) -> Iterator[File]:
        """The files of the form that the manifest lists and that belong to no group."""
        ...

    def tags(self, totals: Totals) -> Mapping[str, bytes]:
        """The files that the tag manifest lists beside the manifest."""
        ...

    def key_of(self, path: str) -> str | None:
        """The key of the object at a path; None for a file of the form. Raises ValueError for any other path."""
        ...


def layout_of(form: Form) -> Layout:
    """The rules of a form."""
    if form is Form.OCFL:
        return OCFL()
    return Fanned("data/" if form is Form.BAGIT else "")


def form_in(paths: set[str]) -> Form:
    """The form of an export whose root has files of these names."""
    if "bagit.txt" in paths:
        return Form.BAGIT
    return Form.OCFL if f"0={_ROOT}" in paths else Form.TAR


class Fanned:
    """Files as they lie in a folder of the storage, which may thus be opened as one; in a bag below `data/`."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def place(self, group: Group) -> Iterator[File]:
        """See `Layout.place`."""
        for file in group.files:
            assert file.key is not None
            yield replace(file, path=self._path(file.key))

    def frame(self) -> Iterator[File]:
        """See `Layout.frame`: none."""
        return iter(())

    def tags(self, totals: Totals) -> Mapping[str, bytes]:
        """See `Layout.tags`: of a bag its declaration, and its size."""
        if not self._prefix:
            return {}
        return {
            "bagit.txt": b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n",
            "bag-info.txt": f"Payload-Oxum: {totals.size_bytes}.{totals.files}\n".encode(),
        }

    def key_of(self, path: str) -> str | None:
        """See `Layout.key_of`."""
        folder, _, rest = path.removeprefix(self._prefix).partition("/")
        key = check_key(f"{folder}/{rest[3:]}")
        if path != self._path(key):
            raise ValueError(f"{path[:200]!r} is not where {key} belongs")
        return key

    def _path(self, key: str) -> str:
        folder, _, name = key.partition("/")
        return f"{self._prefix}{folder}/{fan_out(key)}/{name}"


_ROOT, _OBJECT = "ocfl_1.1", "ocfl_object_1.1"
_EXTENSION = "0003-hash-and-id-n-tuple-storage-layout"
_CONTENT = "/v1/content/"
_OBJECT_PATH = re.compile(r"(?:[0-9a-f]{3}/){3}[0-9a-zA-Z_%-]{1,100}")
_OBJECT_FILES = frozenset((f"0={_OBJECT}", "inventory.json", "inventory.json.sha256"))


class OCFL:
    """An object of one version for each image and each network (https://ocfl.io/1.1/spec/).

    Digests are SHA-256 and not the SHA-512 that OCFL prefers, because the archive knows that of every file before it
    reads one.
    """

    def place(self, group: Group) -> Iterator[File]:
        """See `Layout.place`: the contents with the inventory of their object."""
        # An id is to be a URI, for which OCFL warns otherwise.
        identifier = f"misc:{group.id}"
        place, moment = _object_path(identifier), int(group.created_at.timestamp())
        for file in group.files:
            yield replace(file, path=f"{place}{_CONTENT}{file.key}")
        inventory = _json(_inventory(identifier, group))
        sidecar = f"{hashlib.sha256(inventory).hexdigest()} inventory.json\n".encode()
        yield _generated(f"{place}/0={_OBJECT}", f"{_OBJECT}\n".encode(), moment)
        for folder in (place, f"{place}/v1"):
            yield _generated(f"{folder}/inventory.json", inventory, moment)
            yield _generated(f"{folder}/inventory.json.sha256", sidecar, moment)

    def frame(self) -> Iterator[File]:
        """See `Layout.frame`: what makes a folder a storage root."""
        description = "One object for each image of the MISC archive: its stream, its record, and what it needs."
        config = {"extensionName": _EXTENSION, "digestAlgorithm": "sha256", "tupleSize": 3, "numberOfTuples": 3}
        yield _generated(f"0={_ROOT}", f"{_ROOT}\n".encode(), 0)
        yield _generated("ocfl_layout.json", _json({"extension": _EXTENSION, "description": description}), 0)
        yield _generated(f"extensions/{_EXTENSION}/config.json", _json(config), 0)

    def tags(self, totals: Totals) -> Mapping[str, bytes]:
        """See `Layout.tags`: none. Validators pass over files in the root that are not OCFL's."""
        return {}

    def key_of(self, path: str) -> str | None:
        """See `Layout.key_of`."""
        place, is_content, key = path.partition(_CONTENT)
        if is_content and _OBJECT_PATH.fullmatch(place):
            return check_key(key)
        folder, _, name = path.rpartition("/")
        is_frame = any(file.path == path for file in self.frame())
        if is_frame or (name in _OBJECT_FILES and _OBJECT_PATH.fullmatch(folder.removesuffix("/v1"))):
            return None
        raise ValueError(f"{path[:200]!r} is no file of an export")


def _object_path(identifier: str) -> str:
    """Where an object lies: three folders of its id's digest, and its id with what no file name has escaped."""
    digest = hashlib.sha256(identifier.encode()).hexdigest()
    escaped = re.sub(r"[^0-9A-Za-z_-]", lambda match: f"%{ord(match[0]):02x}", identifier)
    return f"{digest[:3]}/{digest[3:6]}/{digest[6:9]}/{escaped}"


def _inventory(identifier: str, group: Group) -> dict[str, object]:
    keys: dict[str, list[str]] = {}
    for file in group.files:
        assert file.key is not None
        keys.setdefault(file.sha256, []).append(file.key)
    return {
        "id": identifier,
        "type": "https://ocfl.io/1.1/spec/#inventory",
        "digestAlgorithm": "sha256",
        "head": "v1",
        "manifest": {sha256: [f"v1/content/{key}" for key in found] for sha256, found in keys.items()},
        "versions": {
            "v1": {
                "created": group.created_at.astimezone(UTC).isoformat(timespec="seconds"),
                "message": "As it is in the archive",
                "user": {"name": "MISC archive", "address": "misc:archive"},
                "state": keys,
            }
        },
    }


def _generated(path: str, data: bytes, moment: int) -> File:
    return File(path, len(data), hashlib.sha256(data).hexdigest(), moment=moment, data=data)


def _json(value: object) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"
