"""Manifests that are handed in: JSON lines that name the pictures of a folder, each with options of its own."""

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from codec.errors import OptionError

_MAX_BYTES = 1024 * 1024 * 1024
"""A million lines with descriptions."""


@dataclass(frozen=True)
class ManifestEntry:
    """One line: a path below the folder, and options that go before those of the command."""

    name: str
    options: dict[str, Any]


def read_manifest(path: Path) -> list[ManifestEntry]:
    """The entries of a file. What a line has beside `name` and `options` is passed over, so that a manifest of the
    service can be handed in again. Raises OptionError, and OSError for a file that cannot be read."""
    if path.stat().st_size > _MAX_BYTES:
        raise OptionError(f"The manifest {path} has more than {_MAX_BYTES} bytes; divide it.")
    entries = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        if line.strip():
            entries.append(_read_line(line, f"{path}, line {number}"))
    if not entries:
        raise OptionError(f"The manifest {path} names no picture.")
    return entries


def _read_line(line: str, place: str) -> ManifestEntry:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise OptionError(f"{place} is no JSON: {error}.") from None
    name = value.get("name") if isinstance(value, dict) else None
    options = value.get("options", {}) if isinstance(value, dict) else None
    if not isinstance(name, str) or not isinstance(options, dict):
        raise OptionError(f'{place} is not like {{"name": "may/a.jpg", "options": {{}}}}.')
    parts = PurePosixPath(name)
    if not name or parts.is_absolute() or ".." in parts.parts:
        raise OptionError(f"{place}: {name!r} is no path below the folder.")
    return ManifestEntry(name, options)
