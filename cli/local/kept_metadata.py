"""When and where a picture was taken and its file's date, as NAME.meta.json beside what was made of it."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def metadata_path(target: Path) -> Path:
    """NAME.meta.json beside NAME.misc or NAME.png."""
    return target.with_name(f"{target.stem}.meta.json")


def metadata_document(name: str, modified_at: str | None, capture: Mapping[str, Any]) -> bytes:
    """The file: the original's `name`, when it was changed, and the fields of `codec.picture.capture.Capture`."""
    document = {"file": name, "modified_at": modified_at, **capture}
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode(errors="replace")


def file_date(path: Path) -> str:
    """When a file was last changed: ISO 8601, UTC, whole seconds."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
