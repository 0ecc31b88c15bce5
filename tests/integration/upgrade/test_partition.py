"""A large table of words is partitioned by one command, and nothing else of the archive notices."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import delete, insert, select, text

from core.archive import search
from core.database import Database
from core.settings import DatabaseSettings
from migrations.upgrade import alembic_config, upgrade
from models.image import Image, ImageState
from models.search_word import SearchWord
from tests.integration.conftest import new_postgres_database

_IMAGES = 3_000
_COLOURS = ("red", "olive", "black", "white", "tan", "été", "zebra", "grün")


@pytest.fixture
def settings(postgres_url: str) -> Iterator[DatabaseSettings]:
    """PostgreSQL with images whose words are rare, common, and in every image."""
    with new_postgres_database(postgres_url) as url:
        settings = DatabaseSettings(url=url)
        upgrade(settings)
        with closing(Database(settings)) as database, database.write() as session:
            rows = [
                {"id": f"img_{number:026}", "name": f"IMG {number:05}", "state": ImageState.READY, "width": 1,
                 "height": 1, "media_type": "image/png", "options": {}}
                for number in range(_IMAGES)
            ]  # fmt: skip
            session.execute(insert(Image), rows)
            overall = [f"the image shows a {_COLOURS[number % 8]} thing{number % 97}" for number in range(_IMAGES)]
            search.index_new_images(
                session,
                [(row["id"], row["name"], {"overall": words}) for row, words in zip(rows, overall, strict=True)],
            )
        yield settings


def _run(settings: DatabaseSettings, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"MISC_DATABASE_URL": settings.url}
    return subprocess.run(
        [sys.executable, "-m", "migrations", *words], env=environment, capture_output=True, text=True, check=False
    )


def _found(database: Database) -> dict[str, list[str]]:
    queries = ("red", "thing1", "im", "image shows", "zebra 0001", "ét gr", "unicorn", "a")
    with database.read() as session:
        return {
            query: list(session.scalars(select(Image.id).where(*search.conditions(query)).order_by(Image.id)))
            for query in queries
        }


def test_partitioned_words_are_the_same_words_in_equal_parts(settings: DatabaseSettings) -> None:
    with closing(Database(settings)) as database:
        with database.read() as session:
            before = session.execute(select(SearchWord.word, SearchWord.image_id).order_by("word", "image_id")).all()
        found = _found(database)
        ended = _run(settings, "partition", "--parts", "8")
        assert (ended.returncode, ended.stderr[-500:]) == (0, ended.stderr[-500:])
        with database.read() as session:
            assert (
                session.execute(select(SearchWord.word, SearchWord.image_id).order_by("word", "image_id")).all()
                == before
            )
            sizes = session.execute(text("SELECT tableoid, count(*) FROM search_words GROUP BY tableoid")).all()
            plan = "\n".join(
                row[0]
                for row in session.execute(
                    text("EXPLAIN SELECT image_id FROM search_words WHERE word >= 'zebra' AND word < 'zebrb'")
                )
            )
        assert len(sizes) == 8 and max(size for _, size in sizes) < 1.1 * len(before) / 8
        assert plan.count("search_words_part_") <= 2 * 2, plan
        assert found == _found(database) and len(found["im"]) == _IMAGES and found["unicorn"] == []


def test_archive_goes_on_with_partitioned_words(settings: DatabaseSettings) -> None:
    assert _run(settings, "partition", "--parts", "4").returncode == 0
    with closing(Database(settings)) as database:
        database.check_migrated()
        with database.write() as session:
            search.index_image(session, f"img_{7:026}", "quite another name")
            session.execute(delete(Image).where(Image.id == f"img_{8:026}"))
        with database.read() as session:
            words = set(session.scalars(select(SearchWord.word).where(SearchWord.image_id == f"img_{7:026}")))
            assert words == {"quite", "another", "name"}
            left = select(SearchWord.word).where(SearchWord.image_id == f"img_{8:026}")
            assert session.scalars(left).all() == [], "the words go with their image"
        with database.connection() as connection:
            config = alembic_config()
            config.attributes["connection"] = connection
            command.check(config)
        assert _run(settings).returncode == 0, "an upgrade passes over the parts"
        again = _run(settings, "partition")
        assert again.returncode == 1 and "is partitioned already" in again.stderr and "Traceback" not in again.stderr
        with database.connection() as connection:
            config = alembic_config()
            config.attributes["connection"] = connection
            command.downgrade(config, "base")
            tables = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).scalars()
            assert list(tables) == ["alembic_version"], "parts go with their table"


def test_what_cannot_be_partitioned_is_refused_in_a_sentence(settings: DatabaseSettings, tmp_path: Path) -> None:
    sqlite = DatabaseSettings(url=f"sqlite:///{tmp_path}/misc.db")
    upgrade(sqlite)
    for where, words, sentence in (
        (sqlite, ("partition",), "Only PostgreSQL has partitions"),
        (settings, ("partition", "--parts", "1"), "name 2 at least"),
    ):
        ended = _run(where, *words)
        assert ended.returncode == 1 and sentence in ended.stderr and "Traceback" not in ended.stderr
