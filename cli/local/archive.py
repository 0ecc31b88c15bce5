"""The archive of this machine, or of the settings: opened for commands that work on it and not through a server."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import archive_usage_errors, fail_usage

if TYPE_CHECKING:
    from core.database import Database
    from core.settings import DatabaseSettings, StorageSettings
    from core.storage.mirrored import Copies

DataOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", envvar="MISC_DATA", help="Data folder, where MISC_DATABASE_URL names no database."),
]


@dataclass(frozen=True)
class Archive:
    """A database and the storage that belongs to it, with its mirror."""

    database: "Database"
    copies: "Copies"


@contextmanager
def opened_database(data: Path | None) -> Iterator["Database"]:
    """The database of MISC_DATABASE_URL, else that of the data folder; what goes wrong is said in one sentence."""
    from core.database import Database

    with archive_usage_errors():
        database = Database(_database_settings(data))
        try:
            database.check_migrated()
            yield database
        finally:
            database.close()


@contextmanager
def opened_archive(data: Path | None, *, makes_tables: bool = False) -> Iterator[Archive]:
    """The same with its storage; with `makes_tables` a database that is not there is made."""
    from core.logging import log_errors_only
    from core.settings import MirrorSettings, load
    from core.storage.mirrored import open_copies

    log_errors_only()
    with archive_usage_errors():
        copies = open_copies(_storage_settings(data), load(MirrorSettings))
        storage = copies.as_one()
        try:
            storage.check()
            if makes_tables:
                from migrations.upgrade import upgrade

                upgrade(_database_settings(data, may_be_new=True))
            with opened_database(data) as database:
                yield Archive(database, copies)
        finally:
            storage.close()


def _database_settings(data: Path | None, *, may_be_new: bool = False) -> "DatabaseSettings":
    from core.settings import DatabaseSettings, load, sqlite_url

    if os.environ.get("MISC_DATABASE_URL"):
        return load(DatabaseSettings)
    path = _folder(data) / "misc.db"
    if not path.is_file() and not may_be_new:
        raise fail_usage(f"There is no archive in {path.parent}. Start `misc up` there once, or name another.")
    return DatabaseSettings(url=sqlite_url(path))


def _storage_settings(data: Path | None) -> "StorageSettings":
    """Those of the environment; without any the folder that `misc up` keeps beside its database."""
    from core.settings import StorageBackend, StorageSettings, load

    settings = load(StorageSettings)
    if settings.backend is not StorageBackend.LOCAL or os.environ.get("MISC_STORAGE_PATH"):
        return settings
    path = _folder(data) / "objects"
    if not path.is_dir():
        raise fail_usage(f"There is no storage of an archive in {path.parent}. Name another folder with --data.")
    return settings.model_copy(update={"path": path})


def _folder(data: Path | None) -> Path:
    from cli.local.paths import data_folder

    return data or data_folder()
