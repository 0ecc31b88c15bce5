"""The whole service on one machine: a Redis from a Python package, the database's schema, the API and its workers, as
child processes of this one. Does no work of its own and keeps nothing that the data folder does not hold."""

import os
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from cli.server.client import FINAL_STATES, Client
from cli.up.data_folder import DataFolder, StackError
from cli.up.embedded_redis import redis_answers, redis_binary
from cli.up.settings import check_settings, read_settings
from cli.up.supervisor import Child, Supervisor, last_lines
from core.redis_url import socket_url

_SOCKET_PATH_LIMIT_BYTES = 100
"""The kernel takes 108 bytes of socket path on Linux and 104 on macOS."""

_REDIS_START_SECONDS = 10.0

QUEUES = ("encode", "decode", "maintenance")

# Encode workers wait for model answers most of the time; a machine needs no third worker for the housekeeping.
_CONSUMES = {"encode": ("encode", "maintenance"), "decode": ("decode",)}

_HOPELESS_DEATHS = 3
"""A child that ended this often before it was ready once will not become ready by being started again."""


class PortInUse(StackError):
    """Something else listens on the port."""

    code = "port_in_use"


class EmbeddedStack:
    """Redis, API, encode and decode workers over one data folder. A context manager: entering starts, leaving ends.

    `MISC_DATABASE_URL`, `MISC_BROKER_URL` and the `MISC_STORAGE_*` of `environment` win over the embedded parts, so
    that one part at a time can be moved to a server.
    """

    def __init__(
        self,
        data: Path,
        port: int = 8000,
        *,
        encode_workers: int = 1,
        decode_workers: int = 1,
        environment: Mapping[str, str] | None = None,
        on_event: Callable[[str, str], None] | None = None,
    ) -> None:
        """`port` 0 takes a free one. `environment` replaces this process's own; `on_event` is told
        ("restarted", name) when a part had to be started again."""
        self.data = data.resolve()
        self._folder = DataFolder(self.data)
        _check_name(self.data)
        self._workers = {"encode": encode_workers, "decode": decode_workers}
        self._outside = dict(os.environ if environment is None else environment)
        self._wanted_port = port
        self._on_event = on_event or (lambda _event, _name: None)
        self._runtime: Path | None = None
        self._lock_fd: int | None = None
        self.supervisor: Supervisor | None = None
        self.environment: dict[str, str] = {}
        self.port = 0
        self.waits_for = "its data folder"
        """What the start is waiting for now, in words for people."""

    def __enter__(self) -> Self:
        """Start everything; see `start`."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End everything."""
        self.stop()

    @property
    def base_url(self) -> str:
        """Address of the API."""
        host = self.environment["MISC_API_HOST"]
        # The API's socket on :: takes IPv6 only, so 127.0.0.1 would not reach it.
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def logs(self) -> Path:
        """Folder of the children's logs."""
        return self.data / "logs"

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name: redis, api, encode-1, decode-1 and so on."""
        return self.supervisor.pids if self.supervisor is not None else {}

    def start(self) -> None:
        """Start every process; returns before they are ready. Raises StackError, with nothing left running."""
        self._lock_fd = self._folder.lock()
        try:
            self.port = _choose_port(self._outside.get("MISC_API_HOST", "127.0.0.1"), self._wanted_port)
            self.environment = self._make_environment()
            check_settings(self.environment)
            self._check_outside()
            self.supervisor = Supervisor(
                on_event=lambda event, child: self._on_event(event, child.name), keep_open=[self._held_lock]
            )
            self.supervisor.start()
            redis_socket = self._start_redis()
            self._migrate()
            self._take_key()
            if redis_socket is not None:
                self._wait_for_redis(redis_socket)
            self._add("api", [sys.executable, "-m", "api"])
            for kind, count in self._workers.items():
                for _ in range(count):
                    self.add_worker(kind)
        except BaseException:
            self.stop()
            raise

    def add_worker(self, kind: str) -> str:
        """Start one more encode or decode worker; returns its name."""
        assert self.supervisor is not None
        name = f"{kind}-{sum(child.name.startswith(f'{kind}-') for child in self.supervisor.children) + 1}"
        self._add(name, [sys.executable, "-m", "workers", *_CONSUMES[kind]])
        return name

    def wait_ready(
        self,
        timeout_seconds: float = 120.0,
        *,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        """Return when the API says that it is ready and every queue is seen to be consumed.

        A queue is when it has carried a probe job to its end, or when a job that waited before the probe was begun.

        Returns early when `interrupted` says so. Raises StackError, with the end of the log of whatever is to blame,
        after `timeout_seconds` or as soon as waiting is hopeless.
        """
        deadline = time.monotonic() + timeout_seconds
        with self.client() as client:
            while (lack := client.why_not_ready()) is not None:
                if interrupted():
                    return
                self._check_children(deadline, "api", f"The API did not become ready: {lack}")
                self.waits_for = f"the API, {lack}"
                time.sleep(0.05)
            began = datetime.now(UTC)
            waiting = {client.submit_probe(queue): queue for queue in QUEUES}
            while waiting:
                for job_id, queue in list(waiting.items()):
                    state = client.job(job_id)["state"]
                    if state == "succeeded":
                        del waiting[job_id]
                    elif state in FINAL_STATES:
                        raise StackError(f"The probe job of the queue {queue!r} {state}.")
                    elif _is_busy(client, queue, began):
                        client.cancel(job_id)
                        del waiting[job_id]
                for queue in list(waiting.values())[:1]:
                    if interrupted():
                        return
                    worker = "decode" if queue == "decode" else "encode"
                    self._check_children(deadline, worker, f"No worker finished the probe job of the queue {queue!r}")
                    self.waits_for = self._awaited(queue)
                    time.sleep(0.05)

    def client(self) -> Client:
        """A client of this stack, with a key where keys are configured."""
        key = self.environment.get("MISC_API_KEYS", "").split(",")[0].strip()
        return Client(self.base_url, key or None)

    def stop(self) -> None:
        """End every process: SIGTERM, SIGKILL after 8 s; Redis last. Safe to call at any time and twice."""
        if self.supervisor is not None:
            self.supervisor.stop(last=["redis"])
            self.supervisor = None
        if self._runtime is not None:
            shutil.rmtree(self._runtime, ignore_errors=True)
            self._runtime = None
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def last_log_lines(self, name: str) -> list[str]:
        """The end of the log of one process."""
        return last_lines(self.logs / f"{name}.log")

    def _add(self, name: str, command: list[str]) -> None:
        assert self.supervisor is not None
        self.supervisor.add(Child(name, command, self.environment, self.logs / f"{name}.log"))

    @property
    def _held_lock(self) -> int:
        assert self._lock_fd is not None
        return self._lock_fd

    def _make_environment(self) -> dict[str, str]:
        from core.settings import sqlite_url

        # Compose files set what they leave out to nothing, which means the same as not setting it.
        environment = {name: value for name, value in self._outside.items() if value or not name.startswith("MISC_")}
        defaults = {
            "MISC_DATABASE_URL": sqlite_url(self._folder.database),
            "MISC_STORAGE_PATH": str(self._folder.objects),
            "MISC_API_HOST": "127.0.0.1",
            "MISC_LOG_FORMAT": "json",
            # Under the 8 s after which a child is killed, so that a worker still hands its jobs back by itself.
            "MISC_WORKER_SOFT_SHUTDOWN": "PT5S",
            "PYTHONUNBUFFERED": "1",
            # PyTorch makes a folder for compiled networks as soon as it is imported, else one in the temporary folder.
            "TORCHINDUCTOR_CACHE_DIR": str(self.data / "compiled"),
        }
        for name, value in defaults.items():
            environment.setdefault(name, value)
        environment["MISC_API_PORT"] = str(self.port)
        return environment

    def _check_outside(self) -> None:
        """Refuse parts elsewhere that do not answer now, before anything is started that would wait for them."""
        from core.broker import Broker
        from core.errors import ServiceError
        from core.settings import BrokerSettings, StorageBackend, StorageSettings
        from core.storage import open_storage

        if self.environment.get("MISC_BROKER_URL"):
            self.waits_for = "the Redis of MISC_BROKER_URL"
            broker = Broker(read_settings(BrokerSettings, self.environment))
            try:
                broker.check()
            except ServiceError as error:
                raise StackError(f"{error}. Start that Redis, or correct or unset MISC_BROKER_URL.") from error
            finally:
                broker.close()
        settings = read_settings(StorageSettings, self.environment)
        if settings.backend is not StorageBackend.LOCAL:
            self.waits_for = "the store of MISC_STORAGE_ENDPOINT_URL"
            try:
                storage = open_storage(settings)
                storage.check()
                storage.close()
            except (ServiceError, ValueError) as error:
                raise StackError(f"The store of MISC_STORAGE_ENDPOINT_URL cannot be used: {error}.") from error

    def _start_redis(self) -> Path | None:
        if self.environment.get("MISC_BROKER_URL"):
            return None
        binary = redis_binary()
        folder = self.data / "run"
        if len(os.fsencode(folder / "redis.sock")) > _SOCKET_PATH_LIMIT_BYTES:
            folder = self._runtime = Path(tempfile.mkdtemp(prefix="misc-"))
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / "redis.sock"
        path.unlink(missing_ok=True)
        self.environment["MISC_BROKER_URL"] = socket_url(path)
        # Redis holds wake-ups and news only, and what it loses is sent again from the database: nothing is written.
        options = {
            "--port": "0", "--unixsocket": str(path), "--unixsocketperm": "700", "--dir": str(folder),
            "--save": "", "--appendonly": "no", "--maxmemory-policy": "noeviction", "--daemonize": "no",
        }  # fmt: skip
        self._add("redis", [str(binary), *(part for option in options.items() for part in option)])
        return path

    def _wait_for_redis(self, path: Path) -> None:
        self.waits_for = "the embedded Redis"
        deadline = time.monotonic() + _REDIS_START_SECONDS
        while not redis_answers(path):
            self._check_children(deadline, "redis", "The embedded Redis did not start")
            time.sleep(0.02)

    def _migrate(self) -> None:
        from core.errors import ServiceError
        from core.settings import DatabaseSettings
        from migrations.upgrade import upgrade

        self.waits_for = "the database"
        others = os.umask(0o077)
        try:
            upgrade(read_settings(DatabaseSettings, self.environment))
        except (ServiceError, OSError) as error:
            raise StackError(
                f"The database could not be brought up to date: {error} "
                "Check MISC_DATABASE_URL, or that the data folder can be written to."
            ) from error
        finally:
            os.umask(others)

    def _take_key(self) -> None:
        """Make a key for this run where the archive has keys, because every call needs one then, ours too."""
        from core.database import Database
        from core.owners.key_book import KeyBook
        from core.settings import DatabaseSettings

        if self.environment.get("MISC_API_KEYS"):
            return
        database = Database(read_settings(DatabaseSettings, self.environment))
        try:
            if KeyBook(database).look_up("").keys_are_in_use:
                self.environment["MISC_API_KEYS"] = secrets.token_urlsafe(32)
        finally:
            database.close()

    def _awaited(self, queue: str) -> str:
        """What a queue waits for whose probe job has not ended."""
        awaited = f"a worker of the queue {queue!r}"
        if queue != "decode" or self.environment.get("MISC_WORKER_WARM_UP", "first") != "first":
            return awaited
        return f"{awaited}, which loads and tries the networks of {self.environment.get('MISC_PROFILE', 'lite')} first"

    def _check_children(self, deadline: float, part: str, complaint: str) -> None:
        """Raise when waiting for `part` (a name, or the start of one) is in vain or has lasted too long."""
        assert self.supervisor is not None
        hopeless = [child for child in self.supervisor.children if child.deaths_in_a_row >= _HOPELESS_DEATHS]
        if hopeless:
            name, status = hopeless[0].name, hopeless[0].exits[-1]
            complaint = f"{name} cannot run here: it ended again and again, last with status {status}"
        elif time.monotonic() > deadline:
            name = next(child.name for child in self.supervisor.children if child.name.split("-")[0] == part)
        else:
            return
        tail = "\n".join(f"  {line}" for line in self.last_log_lines(name)) or "  (nothing)"
        raise StackError(
            f"{complaint}.\nThe end of {self.logs / name}.log:\n{tail}\n"
            "Correct what it names; `misc doctor` says what is missing on this machine."
        )


def _check_name(data: Path) -> None:
    """Raise StackError for a folder that no address of a database can name."""
    try:
        str(data).encode()
    except UnicodeEncodeError:
        raise StackError(
            f"The name of the data folder {os.fsencode(data)!r} is not UTF-8; name another with --data."
        ) from None


def _is_busy(client: Client, queue: str, since: datetime) -> bool:
    """True when a job of this queue was begun since then; after a restart a probe may wait behind many."""
    # The encode worker of this stack does the housekeeping too, so a busy one keeps both queues waiting.
    kind = "decode" if queue == "decode" else "encode"
    return any(datetime.fromisoformat(job["started_at"]) >= since for job in client.jobs(state="running", kind=kind))


def _choose_port(host: str, wanted: int) -> int:
    """The port if it is free, or a free one for 0; raises PortInUse."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the API's own socket does: a port of connections that ended a moment ago is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, wanted))
        except OSError as error:
            raise PortInUse(
                f"Port {wanted} on {host} cannot be listened on ({error.strerror}). Stop what uses it, or take "
                "another with --port; 0 takes a free one."
            ) from error
        address: tuple[Any, ...] = probe.getsockname()
        return int(address[1])
