"""When a worker process consumes: after networks of gigabytes are there, and beside the loading of small ones."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from codec.decode.restorers import Restorers
from codec.errors import WeightsMissing
from codec.options import Profile
from codec.weights.store import WeightsStore
from core.broker import DECODE
from core.errors import KindUnknown
from core.settings import LMMSettings, NetworkSettings, WorkerSettings
from models.job import JobKind
from workers.decode.handler import DecodeHandler
from workers.handlers import Handlers
from workers.services import WorkerServices

UNUSED: Any = None


class Loading:
    """Loads networks for as long as the test wants."""

    def __init__(self) -> None:
        self.began, self.may_end = threading.Event(), threading.Event()
        self.error: Exception | None = None

    def warm_up(self, _restorers: Restorers, _profile: Profile) -> None:
        self.began.set()
        assert self.may_end.wait(10)
        if self.error is not None:
            raise self.error


@pytest.fixture
def loading(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loading]:
    loading = Loading()
    monkeypatch.setattr(Restorers, "warm_up", lambda *call: loading.warm_up(*call))
    yield loading
    loading.may_end.set()


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Is set by a decode job."""
    decoded = threading.Event()
    monkeypatch.setattr(DecodeHandler, "__call__", lambda *_: decoded.set())
    return decoded


def handlers_of(profile: Profile, folder: Path, warm_up: Literal["first", "beside"] = "beside") -> Handlers:
    settings = WorkerSettings(warm_up=warm_up)
    services = WorkerServices(settings, UNUSED, UNUSED, UNUSED, UNUSED, WeightsStore(folder), UNUSED)
    return Handlers(services, UNUSED, LMMSettings(), NetworkSettings(), profile)


def in_background(handlers: Handlers, kind: JobKind) -> threading.Thread:
    thread = threading.Thread(target=lambda: handlers.of(kind)(UNUSED), daemon=True)
    thread.start()
    return thread


def test_decode_jobs_wait_for_the_networks_of_lite_and_others_do_not(
    loading: Loading, decoded: threading.Event, tmp_path: Path
) -> None:
    handlers = handlers_of(Profile.LITE, tmp_path)
    handlers.warm_up([DECODE])
    assert loading.began.wait(10)
    handlers.of(JobKind.PROBE)(UNUSED)
    thread = in_background(handlers, JobKind.DECODE)
    assert not decoded.wait(0.2)
    loading.may_end.set()
    thread.join(10)
    assert decoded.is_set()
    handlers.close()


@pytest.mark.parametrize("error", [WeightsMissing("no such file"), RuntimeError("a defect")])
def test_decode_jobs_go_on_when_the_networks_cannot_be_loaded(
    loading: Loading, decoded: threading.Event, tmp_path: Path, error: Exception
) -> None:
    loading.error = error
    handlers = handlers_of(Profile.LITE, tmp_path)
    handlers.warm_up([DECODE])
    loading.may_end.set()
    in_background(handlers, JobKind.DECODE).join(10)
    assert decoded.is_set()
    handlers.close()


@pytest.mark.parametrize("profile", Profile)
def test_networks_are_there_before_the_first_job(loading: Loading, tmp_path: Path, profile: Profile) -> None:
    handlers = handlers_of(profile, tmp_path, "first")
    thread = threading.Thread(target=handlers.warm_up, args=([DECODE],), daemon=True)
    thread.start()
    assert loading.began.wait(10)
    thread.join(0.2)
    assert thread.is_alive()
    loading.may_end.set()
    thread.join(10)
    assert not thread.is_alive()
    handlers.close()


def test_unknown_kind_is_an_error_and_no_encode(tmp_path: Path) -> None:
    with pytest.raises(KindUnknown, match="'transcribe'"):
        handlers_of(Profile.LITE, tmp_path).of("transcribe")
