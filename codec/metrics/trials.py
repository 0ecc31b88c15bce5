"""What trial encodings and metrics gave, kept in a folder by the content that went in. Safe for many processes.

A search over peers runs hundreds of encodings a picture; with another budget it needs almost the same ones again.
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from codec.atomic_files import write_atomically

_VERSION = 1
"""Raised when what is kept, or how it comes about, changes."""


class Trials:
    """Results by key, each a file of its own. Without a folder nothing is kept."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def get(self, key: tuple[Any, ...]) -> dict[str, Any] | None:
        """What was kept under the key; None for nothing, or for a file that broke."""
        if self._folder is None:
            return None
        try:
            document = dict(json.loads(self._path(key).read_bytes()))
            if "file" in document:
                document["file"] = base64.b64decode(document["file"], validate=True)
        except (OSError, ValueError, TypeError):
            return None
        return document

    def put(self, key: tuple[Any, ...], values: dict[str, Any]) -> None:
        """Keep plain values, and bytes under the name `file`."""
        if self._folder is None:
            return
        if "file" in values:
            values = values | {"file": base64.b64encode(values["file"]).decode("ascii")}
        write_atomically(self._path(key), json.dumps(values).encode())

    def _path(self, key: tuple[Any, ...]) -> Path:
        assert self._folder is not None
        digest = hashlib.sha256(repr((_VERSION, *key)).encode()).hexdigest()
        return self._folder / f"{digest}.json"
