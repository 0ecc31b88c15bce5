"""How long a describer waits: for the server, between tries, and not at all once it is told to stop."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codec.encode.describe.lmm.client import OpenAIDescriber
from codec.encode.describe.lmm.failures import PassingFailure, asked_wait_seconds, quote
from codec.encode.describe.lmm.retry import RetryPolicy
from codec.errors import Cancelled, DescriberUnavailable
from codec.language_model import LMMServer
from tests.lmm_server.limiter import RecordingLimiter
from tests.lmm_server.memory import MemoryCache
from tests.lmm_server.server import LMMTestServer


def never() -> bool:
    return False


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8))


@pytest.fixture
def server() -> Iterator[LMMTestServer]:
    with LMMTestServer() as running:
        yield running


@pytest.fixture
def pace() -> RecordingLimiter:
    return RecordingLimiter()


@pytest.fixture
def new_describer(server: LMMTestServer, pace: RecordingLimiter) -> Iterator[Callable[..., OpenAIDescriber]]:
    made: list[OpenAIDescriber] = []

    def make(**changes: Any) -> OpenAIDescriber:
        made.append(OpenAIDescriber(LMMServer(base_url=server.base_url, **changes), MemoryCache(), pace))
        return made[-1]

    yield make
    for describer in made:
        describer.close()


@pytest.mark.parametrize(
    ("step", "least_seconds", "most_seconds"),
    [
        ({"retry_after": 1}, 1.0, 3.0),
        ({"retry_after": "0.5"}, 0.5, 2.0),
        ({"retry_after_ms": 600, "retry_after": 30}, 0.6, 2.0),
        # A date has whole seconds, so what was 2 s ahead may be 1 s and a bit.
        ({"retry_after_date": 2}, 1.0, 3.5),
        ({"retry_after": "soon"}, 0.0, 2.0),
        ({"retry_after": -5}, 0.0, 2.0),
        ({"retry_after_date": -100}, 0.0, 2.0),
    ],
    ids=str,
)
def test_what_the_server_asks_to_wait_is_waited_by_all_and_not_much_more(
    server: LMMTestServer,
    pace: RecordingLimiter,
    new_describer: Callable[..., OpenAIDescriber],
    step: dict[str, Any],
    least_seconds: float,
    most_seconds: float,
) -> None:
    server.play({"play": "status", "status": 429} | step)
    new_describer().describe(noise(1), never)
    first, second = (asked["monotonic"] for asked in server.asked())
    assert least_seconds <= second - first <= most_seconds
    assert [round(seconds, 3) >= least_seconds for seconds in pace.pauses] == ([True] if least_seconds else [])


@pytest.mark.parametrize("asked", [{"retry_after": 31}, {"retry_after": 10**11}, {"retry_after_date": 86_400}], ids=str)
def test_longer_wait_than_allowed_ends_at_once_and_pauses_nobody(
    server: LMMTestServer,
    pace: RecordingLimiter,
    new_describer: Callable[..., OpenAIDescriber],
    asked: dict[str, Any],
) -> None:
    server.play(then={"play": "status", "status": 503} | asked)
    begun = time.monotonic()
    with pytest.raises(DescriberUnavailable, match="30 s are allowed"):
        new_describer(longest_wait_seconds=30).describe(noise(1), never)
    assert time.monotonic() - begun < 5
    assert len(server.asked()) == 1
    assert pace.pauses == []


def test_date_is_read_by_the_clock_of_the_server_that_set_it() -> None:
    headers = {"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}
    assert asked_wait_seconds(headers, now=0.0) == 30.0
    assert asked_wait_seconds({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT"}, now=1792567680.0) == 30.0
    for nonsense in ("", "nan", "inf", "1e9", "-1", "Wed, 99 Oct 2026", "\x00", "9" * 5000):
        assert asked_wait_seconds({"retry-after": nonsense}, now=0.0) is None


@pytest.mark.parametrize("play", ["hang", "drip"])
def test_slow_server_is_given_up_after_the_time_even_if_it_sends_a_byte_now_and_then(
    server: LMMTestServer, pace: RecordingLimiter, new_describer: Callable[..., OpenAIDescriber], play: str
) -> None:
    server.play(then=play)
    describer = new_describer(attempts=1, timeout_seconds=0.6)
    describer._connection.open()
    begun = time.monotonic()
    with pytest.raises(DescriberUnavailable, match="in time"):
        describer.describe(noise(1), never)
    assert 0.5 < time.monotonic() - begun < 2.5
    assert pace.closed == pace.reserved


def test_slow_answer_within_the_time_is_taken(
    server: LMMTestServer, new_describer: Callable[..., OpenAIDescriber]
) -> None:
    server.play({"play": "good", "latency": 1.0})
    answer = new_describer(attempts=1, timeout_seconds=5).describe(noise(1), never)
    assert 1.0 <= answer.usage.seconds < 2.5


@pytest.mark.parametrize(
    "step",
    [{"play": "hang"}, {"play": "drip"}, {"play": "status", "status": 429, "retry_after": 60}],
    ids=["request", "body", "pause"],
)
def test_cancelling_ends_every_wait_at_once(
    server: LMMTestServer, pace: RecordingLimiter, new_describer: Callable[..., OpenAIDescriber], step: dict[str, Any]
) -> None:
    server.play(then=step)
    describer, stop = new_describer(), threading.Event()
    ended: list[float] = []

    def run() -> None:
        with pytest.raises(Cancelled):
            describer.describe(noise(1), stop.is_set)
        ended.append(time.monotonic())

    thread = threading.Thread(target=run)
    thread.start()
    while not server.asked():
        time.sleep(0.01)
    time.sleep(0.3)
    stop.set()
    told = time.monotonic()
    thread.join(10)
    # A tenth of a second by itself; the machine may have other work.
    assert ended[0] - told < 1.0
    assert len(pace.closed) == len(pace.reserved) == 1
    assert describer._cache.claim(describer.key(noise(1)), never) is None
    if step["play"] == "hang":
        # The connection is closed, so that the server can stop working on an answer that nobody wants.
        while "client_left" not in server.asked()[0] and time.monotonic() - told < 5:
            time.sleep(0.01)
        assert server.asked()[0]["client_left"]


def test_closing_ends_what_is_under_way(server: LMMTestServer, new_describer: Callable[..., OpenAIDescriber]) -> None:
    server.play(then="hang")
    describer = new_describer()
    caught: list[BaseException] = []

    def run() -> None:
        try:
            describer.describe(noise(1), never)
        except Cancelled as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while not server.asked():
        time.sleep(0.01)
    describer.close()
    thread.join(5)
    assert len(caught) == 1
    with pytest.raises(Cancelled):
        describer.describe(noise(2), never)


def test_sixty_four_threads_wait_for_their_answers_at_once(new_describer: Callable[..., OpenAIDescriber]) -> None:
    with LMMTestServer(latency_seconds=1.0) as slow:
        describer = OpenAIDescriber(LMMServer(base_url=slow.base_url), MemoryCache(), RecordingLimiter())
        describer.describe(noise(1000), never)
        answers: dict[int, Any] = {}

        def run(number: int) -> None:
            answers[number] = describer.describe(noise(number), never)

        threads = [threading.Thread(target=run, args=(number,)) for number in range(64)]
        begun = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - begun < 6
        assert slow.state.most_open_requests > 40
        assert len({answer.description for answer in answers.values()}) == 64
        describer.close()


def test_threads_with_the_same_picture_buy_it_once(
    server: LMMTestServer, new_describer: Callable[..., OpenAIDescriber]
) -> None:
    server.play(then={"play": "good", "latency": 0.3})
    describer = new_describer()
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(describer.describe(noise(1), never))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.asked()) == 1
    assert len({answer.description for answer in answers}) == 1
    assert sorted(answer.usage.cached for answer in answers) == [False] + [True] * 7


def test_backoff_grows_is_jittered_and_bounded() -> None:
    policy = RetryPolicy(attempts=100, longest_wait_seconds=60)
    for tries, most in [(1, 0.5), (2, 1.0), (4, 4.0), (50, 20.0)]:
        waits = [policy._wait_seconds(PassingFailure("x"), tries) for _ in range(300)]
        assert all(0 <= wait <= most for wait in waits)
        assert max(waits) > 0.8 * most
        assert min(waits) < 0.2 * most
    asked = [policy._wait_seconds(PassingFailure("x", wait_seconds=7.0), 3) for _ in range(100)]
    assert all(7.0 <= wait <= 8.0 for wait in asked)


def test_quotes_are_one_short_line_without_keys() -> None:
    quoted = quote("bad key abcdefgh\x1b[31m\nsk-proj-12345678 Bearer xyz " + "y" * 1000, "abcdefgh")
    assert len(quoted) == 200
    assert quoted.startswith("bad key [key] [31m [key] [key] yyy")
