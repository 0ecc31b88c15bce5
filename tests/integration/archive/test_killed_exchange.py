"""Exports and imports that are killed and begun again end as those that nobody killed."""

from pathlib import Path

import pytest

from bench.exchange import measure_kills

pytestmark = pytest.mark.timeout(300)


def test_exports_and_imports_killed_again_and_again_lose_double_and_change_nothing(tmp_path: Path) -> None:
    figures = dict(measure_kills(tmp_path, images=60, kills=8, seed=4))
    assert figures["lost, doubled or changed"] == "0", figures
    assert figures["kills while exporting"].startswith("4,") and figures["kills while importing"].startswith("4,")
