"""The cache of bought answers on SQLite and PostgreSQL: one buyer at a time, and what is bought stays."""

import multiprocessing
import threading
import time
from datetime import timedelta

import pytest

from codec.description import Description, Item
from codec.errors import Cancelled
from codec.language_model import Answer
from codec.usage import Usage
from core.database import Database
from core.describing.cache import DescriptionCache
from core.settings import DatabaseSettings

LEASE = timedelta(seconds=30)


def _never() -> bool:
    return False


def _answer(overall: str) -> Answer:
    return Answer(Description((Item("boat", "a small boat"),), overall), Usage("model", 400, 90, 0.001, 1.5))


def _buy_from_threads(url: str, queue: object) -> None:
    """One process of the two: ten threads that want the same answer."""
    database = Database(DatabaseSettings(url=url))
    book = DescriptionCache(database, LEASE)
    bought: list[int] = []
    seen: list[str] = []

    def _want(number: int) -> None:
        content = book.claim("key", _never)
        if content is None:
            bought.append(number)
            time.sleep(0.3)
            book.store("key", _answer("a boat"))
            content = _answer("a boat")
        seen.append(content.description.overall)

    threads = [threading.Thread(target=_want, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    database.close()
    queue.put((len(bought), seen))  # type: ignore[attr-defined]


def test_twenty_threads_of_two_processes_buy_one_answer(database_settings: DatabaseSettings) -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=_buy_from_threads, args=(database_settings.url, queue)) for _ in range(2)]
    for process in processes:
        process.start()
    results = [queue.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(timeout=10)
    assert sum(bought for bought, _ in results) == 1
    assert [content for _, seen in results for content in seen] == ["a boat"] * 20


def test_kept_answer_is_there_for_every_later_book(database: Database) -> None:
    book = DescriptionCache(database, LEASE)
    assert book.claim("key", _never) is None
    book.store("key", _answer("a boat \U0001f6a2"))
    assert DescriptionCache(database, LEASE).claim("key", _never) == _answer("a boat \U0001f6a2").as_cached()
    assert DescriptionCache(database, LEASE).claim("other", _never) is None


def test_dead_buyer_is_replaced_and_a_living_one_is_not(database: Database) -> None:
    lease = timedelta(seconds=1)
    living, dead, other = (DescriptionCache(database, lease) for _ in range(3))
    living.start()
    assert living.claim("of the living", _never) is None
    assert dead.claim("of the dead", _never) is None
    started = time.monotonic()
    assert other.claim("of the dead", _never) is None
    assert 0.9 <= time.monotonic() - started <= 4.0
    time.sleep(1.0)
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    with pytest.raises(Cancelled):
        other.claim("of the living", stop.is_set)
    living.close()


def test_released_claim_is_free_at_once(database: Database) -> None:
    first, second = DescriptionCache(database, LEASE), DescriptionCache(database, LEASE)
    assert first.claim("key", _never) is None
    first.release("key")
    assert second.claim("key", _never) is None


def test_of_two_bought_answers_the_first_stays_and_a_late_release_takes_nothing(database: Database) -> None:
    first, second = DescriptionCache(database, timedelta(seconds=-1)), DescriptionCache(database, LEASE)
    assert first.claim("key", _never) is None
    assert second.claim("key", _never) is None, "the first buyer fell silent"
    second.store("key", _answer("second"))
    first.store("key", _answer("first"))
    first.release("key")
    assert second.claim("key", _never) == _answer("second").as_cached()
