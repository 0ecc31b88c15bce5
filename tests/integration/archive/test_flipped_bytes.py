"""Single changed bytes anywhere in storage are found, served to nobody, and repaired from the mirror."""

from pathlib import Path

import pytest

from bench.flips import measure, measure_packed
from core.settings import DatabaseSettings

pytestmark = pytest.mark.timeout(300)


def test_flipped_bytes_are_found_never_served_and_repaired(database_settings: DatabaseSettings, tmp_path: Path) -> None:
    figures = measure(database_settings, tmp_path, images=50, flips=30, seed=2)
    assert figures.is_good, figures
    assert set(figures.by_folder) >= {"bitstreams", "records"}


def test_flipped_bytes_of_packs_are_found_never_served_and_repaired(
    database_settings: DatabaseSettings, tmp_path: Path
) -> None:
    figures = measure_packed(database_settings, tmp_path, images=30, flips=12, seed=3)
    assert figures.is_good, figures
    assert figures.packs > 1 and all(figures.by_part.values())
