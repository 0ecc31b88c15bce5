"""Remembers of which file each output of a folder was made, so that another file under the old name is noticed.

Kept as `.misc-sources.jsonl` in the folder of outputs: dates alone do not tell, since a picture may be replaced by one
with an older date.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from codec.atomic_files import write_atomically

NAME = ".misc-sources.jsonl"


@dataclass(frozen=True)
class SourceState:
    """Size in bytes, date in nanoseconds and SHA-256 in hexadecimal of an input when it was read."""

    size: int
    mtime_ns: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "SourceState":
        """Read the file. Raises OSError."""
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(status.st_size, status.st_mtime_ns, digest)

    def is_still(self, path: Path) -> bool:
        """True when the file has the same content; it is read only where its date has changed. Raises OSError."""
        status = path.stat()
        if status.st_size != self.size:
            return False
        return status.st_mtime_ns == self.mtime_ns or SourceState.of(path).sha256 == self.sha256


@dataclass(frozen=True)
class SourceRecord:
    """Of which file an output was made. `is_stand_in`: something described it in place of the language model that was
    asked for and gave nothing."""

    state: SourceState
    is_stand_in: bool = False


class SourceRecords:
    """The records of one folder of outputs, by the output's path within it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self) -> dict[str, SourceRecord]:
        """All records; lines that are damaged, as by a full disk, are passed over."""
        records: dict[str, SourceRecord] = {}
        try:
            lines = (self._folder / NAME).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        except OSError:
            return records
        for line in lines:
            try:
                entry = json.loads(line)
                state = SourceState(entry["size"], entry["mtime_ns"], entry["sha256"])
                records[entry["output"]] = SourceRecord(state, entry.get("stand_in") is True)
            except (ValueError, KeyError, TypeError):
                continue
        if len(lines) > 2 * len(records) + 100:
            self._rewrite(records)
        return records

    def add(self, target: Path, record: SourceRecord) -> None:
        """Note one output. Several processes may do so at a time: a line is written in one piece."""
        with (self._folder / NAME).open("a", encoding="utf-8") as file:
            file.write(self._line(self.key(target), record))

    def key(self, target: Path) -> str:
        """The output's path within the folder."""
        return os.path.relpath(target, self._folder)

    def _rewrite(self, records: dict[str, SourceRecord]) -> None:
        lines: Iterable[str] = (self._line(output, record) for output, record in records.items())
        write_atomically(self._folder / NAME, "".join(lines).encode())

    @staticmethod
    def _line(output: str, record: SourceRecord) -> str:
        state = record.state
        entry = {"output": output, "size": state.size, "mtime_ns": state.mtime_ns, "sha256": state.sha256}
        return json.dumps(entry | ({"stand_in": True} if record.is_stand_in else {})) + "\n"
