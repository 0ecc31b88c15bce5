"""An embedded archive as one tar, and back. Taken while the service runs: the database by SQLite's own online copy, and
then the objects that this copy names, which are never changed once they are there. Prints nothing.

The tar has `misc.db`, `objects/KEY` for each object, and at its end `SHA256SUMS`, which other tools can check too.
"""

import hashlib
import io
import os
import re
import secrets
import sqlite3
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from sqlalchemy import inspect

from cli.up.data_folder import DataFolder, StackError
from codec.atomic_files import replacing
from codec.media import media_type_of
from core.archive.holds import Hold
from core.archive.inventory import CatalogueEntry, catalogue
from core.archive.object_lifecycle import is_damaged, is_stored
from core.archive.packs import members, places
from core.database import Database, check_known, revision_of
from core.errors import ObjectCorrupt, ObjectNotFound
from core.settings import DatabaseSettings, StorageSettings, sqlite_url
from core.storage import CHUNK_BYTES, Storage, open_storage
from core.storage.keys import PACKS, check_key, digest_in
from models.pack_member import PackMember

_DATABASE, _OBJECTS, _SUMS = "misc.db", "objects/", "SHA256SUMS"

_MEMORY_BYTES = 16 << 20
"""Larger objects go through a file on their way."""

_MAX_SUMS_BYTES = 1 << 30
"""Of ten million lines."""

_TRIES = 3

_SUM = re.compile(r"(?P<sha256>[0-9a-f]{64})  (?P<name>[^\n]+)")

OnObject = Callable[[str], None]
"""Called with the key of each object that is done."""


class BackupInvalid(StackError):
    """The file is no whole backup, or a place cannot take it; the message says which."""

    code = "backup_invalid"


@dataclass(frozen=True)
class Backup:
    """What was written or read. `lost`: keys of objects that should be there and are not, or have other bytes."""

    objects: int
    size_bytes: int
    lost: tuple[str, ...] = ()


def write_backup(folder: DataFolder, target: Path, on_object: OnObject = lambda _key: None) -> Backup:
    """Write the archive in `folder` to the tar `target`, whole or not at all. Raises StackError and OSError."""
    if not folder.database.is_file():
        raise BackupInvalid(f"There is no archive in {folder.path}; name its folder with --data.")
    with (
        tempfile.TemporaryDirectory(prefix="misc-backup-", dir=folder.path) as scratch,
        replacing(target) as part,
        _created(part) as file,
        tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        copy = Path(scratch) / _DATABASE
        writer, lost = _Writer(tar), []
        with (
            closing(Database(DatabaseSettings(url=sqlite_url(folder.database)))) as live,
            closing(open_storage(StorageSettings(path=folder.objects))) as storage,
        ):
            entries, hold = _copied(folder, live, storage, copy)
            try:
                _put_log_away(copy)
                with copy.open("rb") as database:
                    writer.add(_DATABASE, database)
                for entry in entries:
                    hold.renew()
                    if not _add_object(writer, live, storage, entry) and _is_there_still(live, entry):
                        lost.append(entry.key)
                    on_object(entry.key)
            finally:
                hold.end()
        writer.add_sums()
        file.flush()
    return Backup(writer.objects, target.stat().st_size if target.is_file() else 0, tuple(lost))


def read_backup(
    source: Path, folder: DataFolder, *, replaces: bool = False, on_object: OnObject = lambda _key: None
) -> Backup:
    """Restore a tar into `folder`, after every digest was found right; until then nothing in the folder changes.

    An archive that is there is refused, or with `replaces` moved to a folder beside it. Raises StackError, and OSError.
    """
    lock = folder.lock()
    try:
        if _holds_archive(folder) and not replaces:
            raise BackupInvalid(
                f"There is an archive in {folder.path}. Name an empty folder with --data, or say --replace, which "
                "moves the one that is there aside."
            )
        with tempfile.TemporaryDirectory(prefix=".restore-", dir=folder.path) as scratch:
            fresh = DataFolder(Path(scratch))
            backup = _unpack(source, fresh, on_object)
            if _holds_archive(folder):
                _move_aside(folder)
            fresh.objects.replace(folder.objects)
            # The database comes last: without it there is no archive.
            fresh.database.replace(folder.database)
        return backup
    finally:
        os.close(lock)


def count_objects(folder: DataFolder) -> int:
    """How many objects a backup will have, for a progress bar; 0 where there is no archive."""
    if not folder.database.is_file():
        return 0
    database = Database(DatabaseSettings(url=sqlite_url(folder.database)))
    try:
        with database.read() as session:
            return sum(1 for _ in catalogue(session))
    finally:
        database.close()


class _Writer:
    """Adds files to a tar and remembers their digests."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar, self._sums = tar, list[str]()
        self._moment = datetime.now(UTC).timestamp()
        self.objects = 0

    def add(self, name: str, file: IO[bytes]) -> None:
        """Add a file that is open at its beginning."""
        digest = hashlib.sha256()
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
        self._sums.append(f"{digest.hexdigest()}  {name}\n")
        self.objects += name.startswith(_OBJECTS)
        self._put(name, file)

    def add_sums(self) -> None:
        """Add the digests of all files before."""
        with tempfile.TemporaryFile() as file:
            file.writelines(line.encode() for line in self._sums)
            self._put(_SUMS, file)

    def _put(self, name: str, file: IO[bytes]) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mtime, member.mode = file.seek(0, os.SEEK_END), self._moment, 0o600
        file.seek(0)
        self._tar.addfile(member, file)


@contextmanager
def _created(path: Path) -> Iterator[IO[bytes]]:
    """The file, for its owner only: descriptions and pictures are in it."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        yield file


def _copied(folder: DataFolder, live: Database, storage: Storage, copy: Path) -> tuple[Sequence[CatalogueEntry], Hold]:
    """Copy the database; returns its catalogue, and a hold on the packs in it, which a rewrite would delete else."""
    for _ in range(_TRIES):
        _copy_database(folder.database, copy)
        entries = _entries(copy)
        packs = [entry.key for entry in entries if entry.key.startswith(PACKS)]
        hold = Hold(live, packs)
        if all(is_stored(storage, key) or is_damaged(live, key) for key in packs):
            return entries, hold
        # One was deleted in these moments.
        hold.end()
        copy.unlink()
    raise BackupInvalid(f"Packs of {folder.path} come and go while they are saved. Try again later.")


def _copy_database(source: Path, target: Path) -> None:
    """What is committed now, while others go on writing (https://sqlite.org/backup.html)."""
    origin, copy = sqlite3.connect(source), sqlite3.connect(target)
    try:
        origin.backup(copy)
    except sqlite3.Error as error:
        raise BackupInvalid(f"The database {source} cannot be copied: {error}.") from error
    finally:
        copy.close()
        origin.close()


def _put_log_away(database_file: Path) -> None:
    """Have a database that nobody uses be one file, without the log that opening it the usual way turns on."""
    connection = sqlite3.connect(database_file)
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()


def _entries(database_file: Path) -> list[CatalogueEntry]:
    """The catalogue of a copy. Raises BackupInvalid, and DatabaseNewer for one of a later version."""
    database = Database(DatabaseSettings(url=sqlite_url(database_file)))
    try:
        with database.connection() as connection:
            revision = revision_of(connection)
            if revision is None:
                raise BackupInvalid("The database of the backup has no tables of ours.")
            check_known(revision)
        with database.read() as session:
            return list(catalogue(session))
    finally:
        database.close()


def _add_object(writer: _Writer, live: Database, storage: Storage, entry: CatalogueEntry) -> bool:
    """Add an object whose bytes are right, from the pack that it lies in by now; False for one that is gone or
    damaged."""
    return _add_loose(writer, storage, entry) or (_is_packed(live, entry) and _add_packed(writer, live, storage, entry))


def _add_packed(writer: _Writer, live: Database, storage: Storage, entry: CatalogueEntry) -> bool:
    try:
        data = places.get(live, storage, entry.key, _MEMORY_BYTES)
    except (ObjectNotFound, ObjectCorrupt):
        return False
    writer.add(f"{_OBJECTS}{entry.location}", io.BytesIO(data))
    return True


def _add_loose(writer: _Writer, storage: Storage, entry: CatalogueEntry) -> bool:
    with tempfile.SpooledTemporaryFile(_MEMORY_BYTES) as file:
        digest = hashlib.sha256()
        try:
            for chunk in storage.open(entry.location):
                digest.update(chunk)
                file.write(chunk)
        except ObjectNotFound:
            return False
        if digest.hexdigest() != entry.sha256:
            return False
        file.seek(0)
        writer.add(f"{_OBJECTS}{entry.location}", file)
        return True


def _is_there_still(live: Database, entry: CatalogueEntry) -> bool:
    """Whether the archive still means to have it: what was deleted since the copy is no loss."""
    with live.read() as session:
        return any(catalogue(session, key=entry.key)) or _is_packed(live, entry)


def _is_packed(live: Database, entry: CatalogueEntry) -> bool:
    """Whether it lies in a pack by now; an archive of an earlier version has none."""
    if not inspect(live.engine).has_table(PackMember.__tablename__):
        return False
    with live.read() as session:
        return bool(members.living(session, [entry.key]))


def _unpack(source: Path, fresh: DataFolder, on_object: OnObject) -> Backup:
    sums: dict[str, str] = {}
    told: dict[str, str] = {}
    storage = open_storage(StorageSettings(path=fresh.objects))
    try:
        with source.open("rb") as file, tarfile.open(fileobj=file, mode="r|*") as tar:
            for member in tar:
                opened = tar.extractfile(member) if member.isreg() else None
                if opened is None or told:
                    raise BackupInvalid(f"{source} is no backup of ours: it has {member.name!r}.")
                if member.name == _SUMS:
                    told = _read_sums(opened)
                else:
                    sums[member.name] = _take(member.name, opened, fresh, storage, source)
                    on_object(member.name)
    except (tarfile.TarError, EOFError) as error:
        raise BackupInvalid(f"{source} is no whole backup: {error}.") from error
    wrong = sorted(name for name in sums.keys() | told.keys() if sums.get(name) != told.get(name))
    if not told or wrong or _DATABASE not in sums:
        reason = f"{wrong[0]} has other bytes than were written" if told and wrong else "its end is missing"
        raise BackupInvalid(f"{source} is damaged: {reason}. Nothing was restored.")
    entries = _entries(fresh.database)
    missing = {f"{_OBJECTS}{entry.location}": entry for entry in entries}.keys() - sums.keys()
    return Backup(len(sums) - 1, source.stat().st_size, tuple(sorted(missing)))


def _take(name: str, file: IO[bytes], fresh: DataFolder, storage: Storage, source: Path) -> str:
    """Store one file of the tar; returns the digest of its bytes."""
    scratch = fresh.database if name == _DATABASE else fresh.path / secrets.token_hex(8)
    key = name.removeprefix(_OBJECTS)
    if name != _DATABASE:
        try:
            check_key(key if name.startswith(_OBJECTS) else "")
        except ValueError:
            raise BackupInvalid(f"{source} is no backup of ours: it has {name!r}.") from None
    digest = hashlib.sha256()
    with scratch.open("wb") as copy:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            copy.write(chunk)
    if name != _DATABASE:
        if digest_in(key) not in (None, digest.hexdigest()):
            raise BackupInvalid(f"{source} is damaged: {name} has other bytes than were written. Nothing was restored.")
        storage.put(key, scratch, content_type=media_type_of(key), sha256=digest.hexdigest())
        scratch.unlink()
    return digest.hexdigest()


def _read_sums(file: IO[bytes]) -> dict[str, str]:
    lines: Iterable[str] = file.read(_MAX_SUMS_BYTES).decode(errors="replace").splitlines()
    found = (_SUM.fullmatch(line) for line in lines)
    return {match["name"]: match["sha256"] for match in found if match is not None}


def _holds_archive(folder: DataFolder) -> bool:
    return folder.database.exists() or (folder.objects.is_dir() and any(folder.objects.iterdir()))


def _move_aside(folder: DataFolder) -> None:
    """Move the archive that is there to a folder beside its own, with the log of its database."""
    aside = folder.path.with_name(f"{folder.path.name}.before-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    aside.mkdir(mode=0o700)
    for path in (folder.objects, *sorted(folder.path.glob(f"{_DATABASE}*"))):
        if path.exists():
            path.replace(aside / path.name)
