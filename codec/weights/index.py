"""The store's list of what was put into it: one JSON file, replaced as a whole, written by one process at a time."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from codec.atomic_files import write_atomically
from codec.errors import WeightsCorrupt, WeightsError
from codec.options import Profile
from codec.weights.manifest import Licence, Part

VERSION = 1

_LIMIT_BYTES = 16 * 1024 * 1024
"""Some ten thousand entries; a larger file is not one that this module wrote."""


@dataclass(frozen=True)
class Record:
    """A file of weights that was put into the store. `file` is relative to the store's folder."""

    name: str
    part: Part
    architecture: str
    file: str
    sha256: str
    bytes: int
    profiles: tuple[Profile, ...] = ()
    rate: int | None = None
    scale: int | None = None
    """By how much a coarse network wants pictures reduced; None for not at all."""
    licence: Licence | None = None
    origin: str = ""
    is_trusted: bool = False
    """Nobody published its digest: it is the one that its first download had."""


def read_index(folder: Path) -> dict[str, Record]:
    """All records by name; none when nothing was ever stored. Raises WeightsCorrupt for a file that is no index."""
    path = _path(folder)
    try:
        if path.stat().st_size > _LIMIT_BYTES:
            raise ValueError("it is too large")
        document = json.loads(path.read_bytes())
        if document["version"] != VERSION:
            raise ValueError(f"it has version {document['version']}")
        return {str(name): _record(str(name), fields) for name, fields in document["weights"].items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsCorrupt(
            f"{path} is not a list of weights that this program can read ({error}). Move it away and add the files "
            f"in {folder / 'files'} again with `misc weights add`."
        ) from None


@contextmanager
def changing_index(folder: Path) -> Iterator[dict[str, Record]]:
    """The records, to be changed inside the block; they are written when it ends without an error."""
    with locked(folder, "index"):
        records = read_index(folder)
        yield records
        document = {"version": VERSION, "weights": {name: _fields(records[name]) for name in sorted(records)}}
        write_atomically(_path(folder), json.dumps(document, indent=1).encode(), durable=True)


@contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Only one thread of one process is inside with the same `what`; the lock of a killed process is free at once."""
    path = folder / "locks" / f"{what}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise WeightsError(
            f"{folder} cannot be written to ({error.strerror}). Name another folder with MISC_WEIGHTS_PATH."
        ) from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _path(folder: Path) -> Path:
    return folder / "index.json"


def _fields(record: Record) -> dict[str, Any]:
    return {name: value for name, value in asdict(record).items() if name != "name"}


def _record(name: str, fields: dict[str, Any]) -> Record:
    licence = fields.get("licence")
    file = Path(fields["file"])
    # The index decides which file is opened; it must not lead out of the folder.
    if file.is_absolute() or ".." in file.parts:
        raise ValueError(f"{name} lies outside of the folder")
    return Record(
        name=name,
        part=Part(fields["part"]),
        architecture=str(fields["architecture"]),
        file=str(file),
        sha256=str(fields["sha256"]),
        bytes=int(fields["bytes"]),
        profiles=tuple(Profile(profile) for profile in fields.get("profiles", ())),
        rate=fields.get("rate"),
        scale=fields.get("scale"),
        licence=Licence(**licence) if licence else None,
        origin=str(fields.get("origin", "")),
        is_trusted=bool(fields.get("is_trusted", False)),
    )
