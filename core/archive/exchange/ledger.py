"""The files of one export, by path: a list that is kept on disk, since it may have hundreds of millions of lines."""

import sqlite3
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from typing import NamedTuple, Self

_AT_ONCE = 1000

_TABLE = """
CREATE TABLE files (
    path TEXT PRIMARY KEY, size_bytes INTEGER, sha256 TEXT, key TEXT, moment INTEGER, data BLOB, source TEXT,
    offset INTEGER
) WITHOUT ROWID
"""


@dataclass(frozen=True)
class File:
    """A file of an export. `path` is relative to the export, with slashes; `moment` is in seconds since 1970.

    What is to be written comes from `data`, from the file `source` of this machine, or from the object under `key`.
    What is read begins at `offset` in its tar; its digest is "" until a manifest says it.
    """

    path: str
    size_bytes: int
    sha256: str = ""
    key: str | None = None
    moment: int = 0
    data: bytes | None = None
    source: str | None = None
    offset: int = 0


class Totals(NamedTuple):
    """Of all files: how many, their bytes together, and the latest moment."""

    files: int
    size_bytes: int
    moment: int


_COLUMNS = ", ".join(field.name for field in fields(File))


class Ledger:
    """Files by path; closed, it is gone."""

    def __init__(self) -> None:
        # A database without a name lies in a temporary file that goes with it.
        self._connection = sqlite3.connect("")
        self._connection.execute(_TABLE)
        self._connection.execute("CREATE INDEX files_key ON files (key)")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def add(self, file: File) -> bool:
        """Add a file; False, and nothing is changed, where there is one of its path."""
        marks = ", ".join("?" for _ in fields(File))
        row = astuple(file)
        return self._connection.execute(f"INSERT OR IGNORE INTO files ({_COLUMNS}) VALUES ({marks})", row).rowcount == 1

    def note_digest(self, path: str, sha256: str) -> bool:
        """Note what a file must be; False where there is none of this path that waits for it."""
        statement = "UPDATE files SET sha256 = ? WHERE path = ? AND sha256 = ''"
        return self._connection.execute(statement, (sha256, path)).rowcount == 1

    def note_key(self, path: str, key: str | None) -> None:
        """Note which object's bytes a file has."""
        self._connection.execute("UPDATE files SET key = ? WHERE path = ?", (key, path))

    def remove(self, path: str) -> None:
        """Forget a file, if it is there."""
        self._connection.execute("DELETE FROM files WHERE path = ?", (path,))

    def clear(self) -> None:
        """Forget all files."""
        self._connection.execute("DELETE FROM files")

    def each(self, folder: str = "") -> Iterator[File]:
        """All files, or those whose path begins with `folder`, sorted by path as bytes."""
        after = folder
        while True:
            query = f"SELECT {_COLUMNS} FROM files WHERE path > ? ORDER BY path LIMIT {_AT_ONCE}"
            lot = [File(*row) for row in self._connection.execute(query, (after,))]
            for file in lot:
                if not file.path.startswith(folder):
                    return
                yield file
            if len(lot) < _AT_ONCE:
                return
            after = lot[-1].path

    def keys(self, folder: str) -> Iterator[File]:
        """A file for each key that begins with `folder`, sorted by key."""
        after = folder
        while True:
            query = (
                f"SELECT {_COLUMNS}, min(path) FROM files WHERE key > ? AND key < ? GROUP BY key ORDER BY key "
                f"LIMIT {_AT_ONCE}"
            )
            lot = [File(*row[:-1]) for row in self._connection.execute(query, (after, f"{folder}\U0010ffff"))]
            yield from lot
            if len(lot) < _AT_ONCE:
                return
            after = str(lot[-1].key)

    def under_key(self, key: str) -> File | None:
        """A file with the bytes of this object."""
        return self._one("key = ? ORDER BY path", key)

    def at(self, path: str) -> File | None:
        """The file of this path."""
        return self._one("path = ?", path)

    def without_digest(self) -> File | None:
        """A file that no manifest has named."""
        return self._one("sha256 = ? ORDER BY path", "")

    def totals(self) -> Totals:
        """Sums over all files."""
        query = "SELECT count(*), coalesce(sum(size_bytes), 0), coalesce(max(moment), 0) FROM files"
        return Totals(*self._connection.execute(query).fetchone())

    def _one(self, condition: str, value: str) -> File | None:
        query = f"SELECT {_COLUMNS} FROM files WHERE {condition} LIMIT 1"
        row = self._connection.execute(query, (value,)).fetchone()
        return None if row is None else File(*row)
