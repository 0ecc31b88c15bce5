"""Exports and imports that are killed and begun again end as those that nobody killed."""

from pathlib import Path

import pytest

from bench.exchange import measure_kills

pytestmark = pytest.mark.timeout(300)


def test_exports_and_imports_killed_again_and_again_lose_double_and_change_nothing(tmp_path: Path) -> None:
    rows = measure_kills(tmp_path, images=40, kills=6, seed=4)
    figures = dict(rows)
    assert [value for name, value in rows if name == "WRONG"] == []
    assert figures["lost, doubled or changed"] == "0"
    assert figures["kills while exporting"].startswith("3,") and figures["kills while importing"].startswith("3,")
