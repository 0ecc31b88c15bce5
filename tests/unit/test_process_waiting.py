"""A process that starts says what it waits for, and nothing once it need not wait."""

import time

import pytest
from structlog.contextvars import bound_contextvars, merge_contextvars
from structlog.testing import capture_logs

from core import waiting


def test_what_is_waited_for_is_told_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert waiting.SILENCE_SECONDS <= 5
    monkeypatch.setattr(waiting, "SILENCE_SECONDS", 0.03)
    with bound_contextvars(process="api"), capture_logs([merge_contextvars]) as told:
        with waiting.awaited("the database"):
            time.sleep(0.2)
        said = len(told)
        time.sleep(0.1)
    assert len(told) == said >= 2
    said_first = {"event": "waiting", "waits_for": "the database", "seconds": 0, "process": "api", "log_level": "info"}
    assert told[0] == said_first


def test_block_that_fails_is_not_waited_for_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "SILENCE_SECONDS", 0.03)
    with capture_logs() as told:
        with pytest.raises(KeyError), waiting.awaited("the database"):
            raise KeyError
        time.sleep(0.1)
    assert told == []
