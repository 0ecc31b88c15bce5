"""What the service costs above its queue: no-work jobs through HTTP, database, Redis and worker to a recorded result,
beside a bare Celery no-op task on the same Redis, with the same pool and concurrency, in one run.
"""

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.bare_celery import NOOP_TASK, QUEUE, bare_app
from bench.servers import PostgresServer, RedisServer
from core.broker import MAINTENANCE, connect_redis
from core.database import Database
from core.jobs import queries
from core.settings import BrokerSettings, DatabaseSettings

_READY_SECONDS = 30


def main() -> None:
    """Run the comparison for each database and print it."""
    parser = argparse.ArgumentParser(prog="python -m bench.service", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1500, help="jobs in each round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each side, taken in turns")
    parser.add_argument("--concurrency", type=int, default=4, help="worker threads on both sides")
    parser.add_argument("--clients", type=int, default=2, help="submitting threads on both sides")
    parser.add_argument("--databases", default="postgresql,sqlite", help="which databases to run on")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    figures = [_compare(name, arguments) for name in arguments.databases.split(",")]
    _print(figures, arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))


def _compare(database_name: str, arguments: argparse.Namespace) -> dict[str, object]:
    with ExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(prefix="misc-bench-", ignore_cleanup_errors=True)
        folder = Path(stack.enter_context(temporary))
        if database_name == "sqlite":
            database_url = f"sqlite:///{folder}/misc.db"
        else:
            database_url = stack.enter_context(PostgresServer(folder / "postgres")).url
        os.environ |= {
            "MISC_BROKER_URL": stack.enter_context(RedisServer(folder)).url,
            "MISC_DATABASE_URL": database_url,
            "MISC_STORAGE_PATH": str(folder / "objects"),
            "MISC_LOG_LEVEL": "warning",
            "MISC_API_PORT": "18437",
        }
        subprocess.run([sys.executable, "-m", "migrations"], check=True)
        threads = str(arguments.concurrency)
        stack.enter_context(_process("-m", "bench.bare_celery", threads))
        stack.enter_context(_process("-m", "workers", MAINTENANCE, "--concurrency", threads))
        stack.enter_context(_process("-m", "api"))
        _wait_for_api(18437)
        service = _Service(18437)
        bare = _Bare()
        bare.run(50, arguments.clients)
        service.run(50, arguments.clients)
        bare_rates, service_rates, submits = [], [], []
        for _ in range(arguments.rounds):
            bare_rates.append(bare.run(arguments.jobs, arguments.clients)[0])
            rate, seconds = service.run(arguments.jobs, arguments.clients)
            service_rates.append(rate)
            submits += seconds
    submits.sort()
    return {
        "database": database_name,
        "bare_jobs_per_second": statistics.median(bare_rates),
        "service_jobs_per_second": statistics.median(service_rates),
        "ratio": statistics.median(s / b for s, b in zip(service_rates, bare_rates, strict=True)),
        "submit_p50_ms": submits[len(submits) // 2] * 1000,
        "submit_p99_ms": submits[int(len(submits) * 0.99)] * 1000,
    }


class _Bare:
    def __init__(self) -> None:
        self._app = bare_app()
        self._redis = connect_redis(BrokerSettings())

    def run(self, jobs: int, clients: int) -> tuple[float, list[float]]:
        """Jobs a second from the first send to the last acknowledgement, and the seconds of each send."""

        def _submit() -> Callable[[], None]:
            return lambda: self._app.send_task(NOOP_TASK, queue=QUEUE, ignore_result=True)

        started = time.perf_counter()
        seconds = _in_threads(_submit, jobs, clients)
        while self._redis.llen(QUEUE) or self._redis.hlen("unacked"):
            time.sleep(0.005)
        return jobs / (time.perf_counter() - started), seconds


class _Service:
    def __init__(self, port: int) -> None:
        self._port = port
        self._database = Database(DatabaseSettings())

    def run(self, jobs: int, clients: int) -> tuple[float, list[float]]:
        """Jobs a second from the first request to the last recorded result, and the seconds of each request."""

        def _submit() -> Callable[[], None]:
            connection = http.client.HTTPConnection("127.0.0.1", self._port)

            def _post() -> None:
                connection.request(
                    "POST", "/v1/probes", b'{"queue": "maintenance"}', {"Content-Type": "application/json"}
                )
                response = connection.getresponse()
                body = response.read()
                if response.status != 202:
                    raise RuntimeError(f"HTTP {response.status}: {body[:300]!r}")

            return _post

        started = time.perf_counter()
        seconds = _in_threads(_submit, jobs, clients)
        while True:
            with self._database.read() as session:
                if not queries.count_open(session):
                    break
            time.sleep(0.01)
        return jobs / (time.perf_counter() - started), seconds


def _in_threads(make_call: Callable[[], Callable[[], None]], calls: int, threads: int) -> list[float]:
    """Make `calls` calls from so many threads; returns how long each took."""
    seconds: list[float] = []
    faults: list[BaseException] = []

    def _work(share: int) -> None:
        try:
            call = make_call()
            for _ in range(share):
                started = time.perf_counter()
                call()
                seconds.append(time.perf_counter() - started)
        except BaseException as fault:  # noqa: BLE001 - raised again in the main thread
            faults.append(fault)

    shares = [calls // threads + (index < calls % threads) for index in range(threads)]
    workers = [threading.Thread(target=_work, args=(share,)) for share in shares]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if faults:
        raise faults[0]
    return seconds


@contextmanager
def _process(*arguments: str) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, *arguments])
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_for_api(port: int) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def _print(figures: list[dict[str, object]], arguments: argparse.Namespace) -> None:
    table = Table(title=f"No-work jobs, {arguments.concurrency} worker threads, {arguments.clients} clients")
    for column in ("database", "bare Celery jobs/s", "service jobs/s", "ratio", "submit p50 ms", "submit p99 ms"):
        table.add_column(column, justify="left" if column == "database" else "right")
    for row in figures:
        table.add_row(
            str(row["database"]),
            f"{row['bare_jobs_per_second']:.0f}",
            f"{row['service_jobs_per_second']:.0f}",
            f"{row['ratio']:.2f}",
            f"{row['submit_p50_ms']:.1f}",
            f"{row['submit_p99_ms']:.1f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
