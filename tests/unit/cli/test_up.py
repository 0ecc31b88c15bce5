"""`misc up` tells why it could not run in a sentence, and ends what it started."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

from cli.server.client import ClientError
from cli.up.data_folder import StackError
from cli.up.stack import EmbeddedStack

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("error", [StackError("No Redis."), ClientError("unauthorized", "The key is not known.")])
def test_failed_start_is_a_sentence_and_leaves_nothing(
    misc: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def _fail(*_: object, **__: object) -> None:
        raise error

    stopped: list[EmbeddedStack] = []
    monkeypatch.setattr(EmbeddedStack, "start", lambda _: None)
    monkeypatch.setattr(EmbeddedStack, "wait_ready", _fail)
    monkeypatch.setattr(EmbeddedStack, "stop", lambda stack: stopped.append(stack))

    result = misc("up", "--data", tmp_path)

    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    assert result.stderr == f"misc: {error}\n"
    assert len(stopped) == 1
