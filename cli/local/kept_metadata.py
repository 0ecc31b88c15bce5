"""When and where a picture was taken and its file's date, as NAME.meta.json beside what was made of it."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from codec.errors import OptionError

_MAX_BYTES = 64 * 1024
"""The file has a few hundred."""


def metadata_path(target: Path) -> Path:
    """NAME.meta.json beside NAME.misc or NAME.png."""
    return target.with_name(f"{target.stem}.meta.json")


def metadata_document(name: str, modified_at: str | None, capture: Mapping[str, Any]) -> bytes:
    """The file: the original's `name`, when it was changed, and the fields of `codec.picture.capture.Capture`."""
    document = {"file": name, "modified_at": modified_at, **capture}
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode(errors="replace")


def find_metadata(stream: Path) -> dict[str, Any] | None:
    """What NAME.meta.json beside NAME.misc holds; None where there is none. Raises OSError, and OptionError for a file
    that is no such document."""
    path = metadata_path(stream)
    if not path.is_file():
        return None
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    try:
        document = json.loads(data) if len(data) <= _MAX_BYTES else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise OptionError(f"{path} is no file of metadata: it has to be a JSON object of at most {_MAX_BYTES} bytes.")
    return document


def file_date(path: Path) -> str:
    """When a file was last changed: ISO 8601, UTC, whole seconds."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
