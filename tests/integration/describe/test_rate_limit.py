"""The shared pace on a real Redis: no window of the server's time holds more than the limit, whoever sends."""

import multiprocessing
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from codec.errors import Cancelled
from core.broker import connect_redis
from core.describing.rate_limit import RedisRateLimiter
from core.settings import BrokerSettings

WINDOW_SECONDS = 1.5
MARGIN_SECONDS = 0.4

Sent = list[tuple[float, int]]


def _pace(broker: BrokerSettings, requests: int = 0, tokens: int = 0) -> RedisRateLimiter:
    return RedisRateLimiter(
        broker,
        "server model",
        requests_per_minute=requests,
        tokens_per_minute=tokens,
        window=timedelta(seconds=WINDOW_SECONDS),
        margin=timedelta(seconds=MARGIN_SECONDS),
    )


def _never() -> bool:
    return False


def _send(pace: RedisRateLimiter, count: int, tokens: int, sent: Sent) -> None:
    for _ in range(count):
        pace.wait(tokens, 0.0, _never)
        sent.append((time.time(), tokens))


def _send_from_threads(url: str, requests: int, tokens_limit: int, tokens: int, queue: object) -> None:
    """One process of the two: eight threads that each send three requests."""
    pace = _pace(BrokerSettings(url=url), requests, tokens_limit)
    sent: Sent = []
    threads = [threading.Thread(target=_send, args=(pace, 3, tokens, sent)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    queue.put(sent)  # type: ignore[attr-defined]


def _most_in_any_window(sent: Sent, weigh: Callable[[int], int]) -> int:
    ordered = sorted(sent)
    return max(
        sum(weigh(tokens) for at, tokens in ordered if start <= at < start + WINDOW_SECONDS) for start, _ in ordered
    )


def _two_processes(broker: BrokerSettings, requests: int, tokens_limit: int, tokens: int) -> Sent:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    arguments = (broker.url, requests, tokens_limit, tokens, queue)
    processes = [context.Process(target=_send_from_threads, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    sent = [entry for _ in processes for entry in queue.get(timeout=60)]
    for process in processes:
        process.join(timeout=10)
        assert process.exitcode == 0
    return sent


def test_two_processes_never_send_more_requests_in_any_window_than_the_limit(broker_settings: BrokerSettings) -> None:
    sent = _two_processes(broker_settings, requests=20, tokens_limit=0, tokens=1)
    assert len(sent) == 48
    assert _most_in_any_window(sent, lambda _: 1) <= 20
    # Two of the three windows that 48 requests need have to pass, and not many more.
    lasted = max(sent)[0] - min(sent)[0]
    assert 2 * WINDOW_SECONDS <= lasted <= 2 * (WINDOW_SECONDS + MARGIN_SECONDS) + 2.0


def test_two_processes_never_send_more_tokens_in_any_window_than_the_limit(broker_settings: BrokerSettings) -> None:
    sent = _two_processes(broker_settings, requests=0, tokens_limit=2000, tokens=100)
    assert len(sent) == 48
    assert _most_in_any_window(sent, lambda tokens: tokens) <= 2000


def test_request_of_more_tokens_than_the_limit_goes_alone(broker_settings: BrokerSettings) -> None:
    pace = _pace(broker_settings, tokens=50)
    sent: Sent = []
    _send(pace, 2, 500, sent)
    assert sent[1][0] - sent[0][0] >= WINDOW_SECONDS


def test_settling_gives_back_tokens_that_were_not_used(broker_settings: BrokerSettings) -> None:
    pace = _pace(broker_settings, tokens=100)
    turn = pace.wait(100, 0.0, _never)
    turn.settle(10, 0.0)
    started = time.monotonic()
    pace.wait(90, 0.0, _never)
    assert time.monotonic() - started < WINDOW_SECONDS / 2


def test_pause_of_one_process_holds_all_others_back(broker_settings: BrokerSettings) -> None:
    first, second = _pace(broker_settings), _pace(broker_settings)
    first.pause(0.8)
    started = time.monotonic()
    second.wait(1, 0.0, _never)
    assert 0.7 <= time.monotonic() - started <= 2.0


def test_pause_also_stops_those_who_had_their_turn_already(broker_settings: BrokerSettings) -> None:
    pace = _pace(broker_settings, requests=1)
    pace.wait(1, 0.0, _never)
    sent: Sent = []
    waiting = threading.Thread(target=_send, args=(pace, 1, 1, sent))
    started = time.time()
    waiting.start()
    time.sleep(0.3)
    _pace(broker_settings).pause(2.0)
    waiting.join(timeout=10)
    assert sent[0][0] - started >= 2.2


def test_cancelled_wait_ends_soon_and_gives_its_turn_up(broker_settings: BrokerSettings) -> None:
    pace = _pace(broker_settings, requests=1)
    pace.wait(1, 0.0, _never)
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    started = time.monotonic()
    with pytest.raises(Cancelled):
        pace.wait(1, 0.0, stop.is_set)
    assert time.monotonic() - started < 0.9
    pace.wait(1, 0.0, _never)
    assert time.monotonic() - started < 1.5 * (WINDOW_SECONDS + MARGIN_SECONDS), (
        "the turn of the cancelled one was not wasted"
    )


def test_nothing_is_sent_for_a_window_after_redis_came_back_empty(broker_settings: BrokerSettings) -> None:
    pace = _pace(broker_settings, requests=5)
    sent: Sent = []
    _send(pace, 5, 1, sent)
    connect_redis(broker_settings).flushall()
    _send(pace, 5, 1, sent)
    assert _most_in_any_window(sent, lambda _: 1) <= 5


def test_without_redis_a_limited_pace_waits_and_an_unlimited_one_does_not(tmp_path: Path) -> None:
    away = BrokerSettings(url=f"redis+socket://{tmp_path}/nobody.sock")
    started = time.monotonic()
    _pace(away).wait(1, 0.0, _never)
    assert time.monotonic() - started < 0.5
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(Cancelled):
        _pace(away, requests=10).wait(1, 0.0, stop.is_set)


def test_without_redis_an_unlimited_pace_keeps_its_own_pauses(tmp_path: Path) -> None:
    pace = _pace(BrokerSettings(url=f"redis+socket://{tmp_path}/nobody.sock"))
    pace.pause(0.5)
    started = time.monotonic()
    pace.wait(1, 0.0, _never)
    assert time.monotonic() - started >= 0.45


def test_two_hundred_waiting_requests_cost_a_few_calls_each(broker_settings: BrokerSettings) -> None:
    pace = _pace(broker_settings, requests=100)
    sent: Sent = []
    threads = [threading.Thread(target=_send, args=(pace, 1, 1, sent)) for _ in range(200)]
    before = connect_redis(broker_settings).info("stats")["total_commands_processed"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = connect_redis(broker_settings).info("stats")["total_commands_processed"]
    calls = connect_redis(broker_settings).info("commandstats")["cmdstat_evalsha"]["calls"]
    assert len(sent) == 200
    assert calls <= 200 * 3, (calls, after - before)
