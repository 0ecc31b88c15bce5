"""Databases that cannot be used, each told in one sentence, and PgBouncer between us and one that can."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine, make_url, text

from core.broker import ENCODE
from core.database import Database
from core.errors import DatabaseNewer, DatabaseNotMigrated, DatabaseUnavailable, DatabaseUnusable, ServiceError
from core.jobs import transitions
from core.jobs.job import JobSpec
from core.settings import DatabaseSettings, sqlite_url
from migrations.upgrade import upgrade
from models.job import JobKind
from models.revisions import REVISIONS
from tests.integration.conftest import new_postgres_database
from tests.log_lines import told


def is_one_sentence(error: BaseException) -> bool:
    return "\n" not in str(error) and 20 < len(str(error)) < 500


def test_revisions_that_the_code_knows_are_alembics() -> None:
    from alembic.script import ScriptDirectory

    from migrations.upgrade import alembic_config

    scripts = ScriptDirectory.from_config(alembic_config()).walk_revisions()
    assert tuple(reversed([script.revision for script in scripts])) == REVISIONS


def test_database_of_a_newer_version_is_told_and_left_alone(database_settings: DatabaseSettings) -> None:
    database = Database(database_settings)
    database.check_migrated()
    with database.connection() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'ffffffffffff'"))
    for act in (database.check_migrated, lambda: upgrade(database_settings)):
        with pytest.raises(DatabaseNewer, match="ffffffffffff") as caught:
            act()
        assert is_one_sentence(caught.value)
    assert database.revision() == "ffffffffffff"
    database.close()


def test_database_of_an_older_version_is_not_ready(database_settings: DatabaseSettings) -> None:
    database = Database(database_settings)
    with database.connection() as connection:
        connection.execute(text(f"UPDATE alembic_version SET version_num = '{REVISIONS[0]}'"))
    with pytest.raises(DatabaseNotMigrated, match=REVISIONS[0]) as caught:
        database.check_migrated()
    assert "python -m migrations" in str(caught.value)
    database.close()


def test_database_without_tables_and_file_that_is_none_are_told(tmp_path: Path) -> None:
    empty = Database(DatabaseSettings(url=sqlite_url(tmp_path / "empty.db")))
    with pytest.raises(DatabaseNotMigrated, match="no tables"):
        empty.check_migrated()
    (tmp_path / "text.db").write_bytes(b"not a database at all, whatever it is called " * 100)
    for act in (Database.check, Database.check_migrated):
        with pytest.raises(DatabaseUnusable, match="not a database") as caught:
            act(Database(DatabaseSettings(url=sqlite_url(tmp_path / "text.db"))))
        assert is_one_sentence(caught.value)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"port": 1, "query": {}, "host": "127.0.0.1"}, DatabaseUnavailable),
        ({"database": "no_such_database"}, ServiceError),
        ({"username": "no_such_user"}, ServiceError),
        ({"host": "no-such-host.invalid", "port": 5432, "query": {}}, DatabaseUnavailable),
    ],
    ids=["port", "database", "user", "host"],
)
def test_server_that_is_not_there_or_refuses_is_told_in_a_sentence(
    postgres_url: str, changes: dict[str, object], kind: type[ServiceError]
) -> None:
    url = make_url(postgres_url).set(**changes)  # type: ignore[arg-type]
    database = Database(DatabaseSettings(url=url.render_as_string(hide_password=False)))
    with pytest.raises(kind) as caught:
        database.check()
    assert is_one_sentence(caught.value)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_database_that_is_not_unicode_is_refused_in_a_sentence(postgres_url: str, encoding: str) -> None:
    server = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    name = f"test_{encoding.lower()}"
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name}"))
        connection.execute(
            text(f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        )
    settings = DatabaseSettings(url=server.url.set(database=name).render_as_string(hide_password=False))
    try:
        for act in (lambda: upgrade(settings), lambda: Database(settings).check()):
            with pytest.raises(DatabaseUnusable, match=encoding) as caught:
                act()
            assert is_one_sentence(caught.value)
            assert "UTF8" in str(caught.value)
    finally:
        with server.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        server.dispose()


def test_encoding_of_the_environment_does_not_change_what_is_stored(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    database = Database(DatabaseSettings(url=postgres_url))
    with database.connection() as connection:
        assert connection.execute(text("SELECT '\u9ce5 \U0001f99c'")).scalar() == "\u9ce5 \U0001f99c"
    database.close()


def pooler() -> str:
    """The program; skips where it is not installed."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed (apt-get install pgbouncer)")
    return program


@contextlib.contextmanager
def pooled(url: str, folder: Path) -> Iterator[str]:
    """A URL behind PgBouncer in transaction mode, which has two connections for everybody."""
    program, server = pooler(), make_url(url)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    host = server.query.get("host") or server.host
    place = f"host={host} port={server.port or 5432} dbname={server.database} user={server.username}"
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\npooled = {place}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
        "pool_mode = transaction\ndefault_pool_size = 2\nmax_client_conn = 200\nauth_type = any\n"
        f"unix_socket_dir =\nlogfile = {folder}/pgbouncer.log\n"
    )
    command = [program, str(folder / "pgbouncer.ini")]
    if os.geteuid() == 0:
        # It refuses to run as root.
        user = pwd.getpwnam("nobody")
        for path in (folder, *folder.iterdir()):
            os.chown(path, user.pw_uid, user.pw_gid)
        for place in (*folder.parents, Path(str(host))):
            if place.name.startswith(("pytest-", "popen-", "misc-", "test_")):
                place.chmod(0o755)
        command += ["-u", "nobody"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline, log = time.monotonic() + 60, folder / "pgbouncer.log"
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            said = log.read_text() if log.exists() else "it wrote no log"
            assert time.monotonic() < deadline and process.poll() is None, said
            time.sleep(0.05)
        yield URL.create("postgresql", "anybody", host="127.0.0.1", port=port, database="pooled").render_as_string()
    finally:
        process.terminate()
        process.wait(10)


def test_statements_work_behind_a_pooler_that_gives_each_transaction_another_connection(
    postgres_url: str, tmp_path: Path
) -> None:
    pooler()
    with new_postgres_database(postgres_url) as url, pooled(url, tmp_path) as behind:
        settings = DatabaseSettings(url=behind)
        upgrade(settings)
        database = Database(settings)
        database.check_migrated()

        def submit(number: int) -> str:
            # Each statement more often than a driver waits before it prepares it on the server.
            with database.write() as session:
                job_id = transitions.create(session, JobSpec(JobKind.PROBE, ENCODE))
            assert database.execute_alone(text("SELECT :number"), {"number": number}) == [(number,)]
            return job_id

        with ThreadPoolExecutor(16) as threads:
            assert len(set(threads.map(submit, range(200)))) == 200
        database.close()


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("mysql://u:secret@h/d", "MISC_DATABASE_URL"),
        ("postgresql://u:secret@127.0.0.1:1/d", "did not answer"),
        ("sqlite:////proc/no/such/folder/misc.db", "folder"),
    ],
)
def test_migrations_end_with_a_sentence_and_one(url: str, word: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "migrations"],
        env=dict(os.environ) | {"MISC_DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert word in ended.stderr
    assert "secret" not in ended.stderr
    assert len(told(ended.stderr)) == 1
