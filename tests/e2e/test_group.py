"""Two hundred pictures as one batch, while the push, the API and the worker are killed: each is reported once."""

import logging
from pathlib import Path

import pytest

from bench.group import run

_log = logging.getLogger(__name__)

_PICTURES = 200


@pytest.mark.timeout(900)
def test_each_picture_is_reported_once_and_progress_never_goes_back(tmp_path: Path) -> None:
    figures = run(_PICTURES, tmp_path, _log.info)
    assert figures.faults == []
    assert figures.killed == ["push", "api", "encode-1", "api"]
    assert figures.steps_back == 0 and figures.told[-1] == 1.0 and len(figures.told) > 5
