"""The service at full size on one machine: PostgreSQL, Redis and an S3 server, each behind a proxy, two APIs, two
encode and two decode workers, one for maintenance. A supervisor starts again what dies, as an orchestrator would."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import httpx

from bench.chaos.proxy import Proxy, ProxyLoop
from bench.chaos.server_guard import ServerGuard
from bench.servers import PostgresServer, RedisServer
from cli.up.supervisor import Child, Supervisor
from core.settings import DatabaseSettings, StorageBackend, StorageSettings
from core.storage import Storage
from core.storage.s3 import S3Storage
from migrations.upgrade import upgrade
from tests.s3_server.process import S3Server

_READY_SECONDS = 120.0
_STOP_SECONDS = 15.0
"""After a SIGTERM; longer than the soft shutdown that is configured below."""

_BUCKET = "chaos"

PROCESSES = {
    "api-1": ["api"],
    "api-2": ["api"],
    "encode-1": ["workers", "encode"],
    "encode-2": ["workers", "encode"],
    "decode-1": ["workers", "decode"],
    "decode-2": ["workers", "decode"],
    "maintenance-1": ["workers", "maintenance"],
}
"""Modules and their arguments, by name; the part before the hyphen is the kind."""


class FullStack:
    """A context manager: entering starts everything and returns when it is ready, leaving ends it."""

    def __init__(self, folder: Path, seed: int, settings: Mapping[str, str]) -> None:
        """`settings` are MISC_ variables for every process."""
        self.folder, self._seed, self._settings = folder, seed, settings
        self._exits = ExitStack()
        self.supervisor: Supervisor
        self.database: PostgresServer
        self.broker: RedisServer
        self.store: S3Server
        self.database_proxy: Proxy
        self.broker_proxy: Proxy
        self.store_proxy: Proxy
        self.scratch = ScratchDisk(folder / "scratch")
        self.api_ports = [_free_port(), _free_port()]

    def __enter__(self) -> Self:
        """Start everything; raises RuntimeError when it does not become ready, with nothing left running."""
        with ExitStack() as exits:
            guard = exits.enter_context(ServerGuard())
            guard.watch(self.folder / "postgres")
            guard.watch(self.folder / "redis.sock")
            self.database = exits.enter_context(PostgresServer(self.folder / "postgres"))
            self.broker = exits.enter_context(RedisServer(self.folder))
            self.store = S3Server()
            exits.callback(self.store.close)
            guard.watch(self.store.folder)
            self._make_bucket()
            exits.enter_context(self.scratch)
            loop = ProxyLoop()
            exits.callback(loop.close)
            self.database_proxy = Proxy(loop, self.database.socket, self._seed)
            self.broker_proxy = Proxy(loop, self.broker.socket, self._seed + 1)
            self.store_proxy = Proxy(loop, ("127.0.0.1", self.store.port), self._seed + 2)
            upgrade(DatabaseSettings(url=self.database.url))
            self.supervisor = Supervisor()
            self.supervisor.start()
            exits.callback(self.supervisor.stop)
            for name in PROCESSES:
                self._add(name)
            self._wait_ready()
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    @property
    def base_urls(self) -> list[str]:
        """Addresses of the APIs."""
        return [f"http://127.0.0.1:{port}" for port in self.api_ports]

    @property
    def logs(self) -> Path:
        """Folder of the processes' logs."""
        return self.folder / "logs"

    def storage(self) -> Storage:
        """The store as the service sees it, past the proxy."""
        return S3Storage(self._storage_settings(self.store.port))

    def names(self, kind: str) -> list[str]:
        """Names of the processes of a kind."""
        return [name for name in PROCESSES if name.startswith(f"{kind}-")]

    def pid(self, name: str) -> int | None:
        """The process that has this name now; None between its death and its restart."""
        return self.supervisor.pids.get(name)

    def kill(self, name: str) -> None:
        """SIGKILL, with the children that it started."""
        self._signal(name, signal.SIGKILL)

    def pause(self, name: str) -> None:
        """SIGSTOP."""
        self._signal(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """SIGCONT."""
        self._signal(name, signal.SIGCONT)

    def set_clock(self, name: str, ahead_seconds: float) -> None:
        """Set the wall clock of one process so far ahead; it notices within a part of a second."""
        self._clock_file(name).write_text(str(ahead_seconds))

    def restart(self, name: str) -> float:
        """SIGTERM, and wait until the next one runs; returns how long the old one took to end. Killed after 15 s."""
        old = self.pid(name)
        started = time.monotonic()
        self._signal(name, signal.SIGTERM)
        while self.pid(name) == old:
            if time.monotonic() - started > _STOP_SECONDS:
                self.kill(name)
            time.sleep(0.05)
        took = time.monotonic() - started
        while self.pid(name) is None:
            time.sleep(0.05)
        return took

    def stop_processes(self) -> None:
        """End APIs and workers for good; the servers stay."""
        self.supervisor.stop()

    def is_ready(self) -> bool:
        """True when every API says so."""
        for url in self.base_urls:
            try:
                if httpx.get(f"{url}/readyz", timeout=5).status_code != 200:
                    return False
            except httpx.TransportError:
                return False
        return True

    def _clock_file(self, name: str) -> Path:
        return self.folder / f"{name}.clock"

    def _signal(self, name: str, number: signal.Signals) -> None:
        pid = self.pid(name)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                # The child leads a group of its own, in which the processes are that it started itself.
                if number is signal.SIGTERM:
                    os.kill(pid, number)
                else:
                    os.killpg(pid, number)

    def _add(self, name: str) -> None:
        environment = self._environment()
        self._clock_file(name).write_text("0")
        if name.startswith("api-"):
            environment["MISC_API_PORT"] = str(self.api_ports[self.names("api").index(name)])
        command = [sys.executable, "-m", "bench.chaos.process", str(self._clock_file(name)), *PROCESSES[name]]
        self.supervisor.add(Child(name, command, environment, self.logs / f"{name}.log"))

    def _environment(self) -> dict[str, str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MISC_")}
        environment |= {
            "MISC_DATABASE_URL": f"postgresql+psycopg://postgres@127.0.0.1:{self.database_proxy.port}/postgres",
            "MISC_BROKER_URL": f"redis://127.0.0.1:{self.broker_proxy.port}/0",
            "MISC_STORAGE_BACKEND": "s3",
            "MISC_STORAGE_BUCKET": _BUCKET,
            "MISC_STORAGE_ENDPOINT_URL": f"http://127.0.0.1:{self.store_proxy.port}",
            "MISC_STORAGE_ACCESS_KEY": S3Server.access_key,
            "MISC_STORAGE_SECRET_KEY": S3Server.secret_key,
            "MISC_LOG_FORMAT": "json",
            "MISC_WORKER_SOFT_SHUTDOWN": "5",
            "MISC_WORKER_ENCODE_CONCURRENCY": "4",
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(self.scratch.folder),
            "TORCHINDUCTOR_CACHE_DIR": str(self.folder / "compiled"),
        }
        return environment | dict(self._settings)

    def _storage_settings(self, port: int) -> StorageSettings:
        return StorageSettings.model_validate(
            {
                "backend": StorageBackend.S3,
                "bucket": _BUCKET,
                "endpoint_url": f"http://127.0.0.1:{port}",
                "access_key": S3Server.access_key,
                "secret_key": S3Server.secret_key,
            }
        )

    def _make_bucket(self) -> None:
        import boto3
        from botocore.config import Config

        client = boto3.session.Session().client(
            "s3",
            endpoint_url=self.store.endpoint_url,
            region_name=S3Server.region,
            aws_access_key_id=S3Server.access_key,
            aws_secret_access_key=S3Server.secret_key,
            config=Config(request_checksum_calculation="when_required", s3={"addressing_style": "path"}),
        )
        client.create_bucket(Bucket=_BUCKET)
        client.close()

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while not self.is_ready():
            if time.monotonic() > deadline:
                raise RuntimeError(f"the service did not become ready; its logs are in {self.logs}")
            time.sleep(0.2)


class ScratchDisk:
    """The disk of the processes' temporary files: small, and to be filled. Where mounting one is not allowed it is a
    plain folder, and `can_fill` is false."""

    _SIZE_MIB = 48

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.can_fill = False

    def __enter__(self) -> Self:
        self.folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={self._SIZE_MIB}m,mode=1777", "tmpfs", str(self.folder)]
        with contextlib.suppress(OSError):
            self.can_fill = subprocess.run(command, capture_output=True).returncode == 0
        return self

    def __exit__(self, *_: object) -> None:
        if self.can_fill:
            subprocess.run(["umount", "--lazy", str(self.folder)], capture_output=True)

    def fill(self) -> None:
        """Leave no room."""
        with (self.folder / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(bytes(1 << 16))

    def free(self) -> None:
        """Give the room back."""
        (self.folder / "ballast").unlink(missing_ok=True)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def full_stack(seed: int, settings: Mapping[str, str], keep: Path | None = None) -> Iterator[FullStack]:
    """A stack in a temporary folder, or in `keep`, whose logs stay."""
    with ExitStack() as exits:
        if keep is None:
            temporary = tempfile.TemporaryDirectory(prefix="misc-chaos-", ignore_cleanup_errors=True)
            folder = Path(exits.enter_context(temporary))
        else:
            folder = keep
            folder.mkdir(parents=True)
        # PostgreSQL runs as a user of its own where this runs as root.
        folder.chmod(0o755)
        yield exits.enter_context(FullStack(folder, seed, settings))
