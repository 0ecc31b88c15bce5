"""A database that was dropped and rebuilt answers every question as before, on both engines."""

from pathlib import Path

import pytest

from bench.rebuild import measure
from core.settings import DatabaseSettings

pytestmark = pytest.mark.timeout(300)


def test_rebuilt_database_gives_the_same_listings_searches_downloads_and_decodes(
    database_settings: DatabaseSettings, tmp_path: Path
) -> None:
    figures = measure(database_settings, tmp_path / "objects", 60)
    assert (figures.streams_equal, figures.decodes_equal, figures.is_equal) == (60, 20, True)
