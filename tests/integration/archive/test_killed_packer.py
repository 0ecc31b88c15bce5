"""A packer that is killed anywhere loses nothing and doubles nothing."""

from pathlib import Path

import pytest

from bench.packs import measure_kills

pytestmark = pytest.mark.timeout(300)


def test_packer_killed_again_and_again_loses_and_doubles_nothing(tmp_path: Path) -> None:
    figures = dict(measure_kills(tmp_path / "archive", kills=5, seed=4))
    assert figures["lost, doubled or changed"] == "0", figures
