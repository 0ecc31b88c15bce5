"""Networks are loaded once, shared, kept while they are used and let go when they are not."""

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from codec.nets.loading.model_cache import ModelCache


class Network:
    """Something that can be watched."""


def test_many_threads_get_one_network_that_is_loaded_once() -> None:
    loads: list[int] = []
    kept: ModelCache[Network] = ModelCache(most=1)
    ready = threading.Barrier(8)

    def _load() -> Network:
        loads.append(1)
        return Network()

    def _get(_: int) -> Network:
        ready.wait()
        return kept.get("a", _load)

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(_get, range(8)))

    assert len(found) == len(loads) == 1


def test_error_of_loading_reaches_the_caller_and_the_next_one_tries_again() -> None:
    kept: ModelCache[str] = ModelCache(most=1)

    with pytest.raises(ValueError, match="broken"):
        kept.get("a", lambda: (_ for _ in ()).throw(ValueError("broken")))

    assert kept.get("a", lambda: "whole") == "whole"


def test_least_used_is_evict_but_never_one_in_use() -> None:
    kept: ModelCache[str] = ModelCache(most=2)
    with kept.use("a", lambda: "a1"):
        for key in "bcd":
            kept.get(key, lambda key=key: f"{key}1")
        assert kept.get("a", lambda: "a2") == "a1"
    kept.get("e", lambda: "e1")
    assert kept.get("c", lambda: "c2") == "c2"


def test_idle_network_is_freed_and_loaded_again_at_the_next_request() -> None:
    freed: list[bool] = []
    kept: ModelCache[Network] = ModelCache(most=1, on_release=lambda: freed.append(True))
    watched = weakref.ref(kept.get("a", Network))

    assert kept.release_idle(60) == 0 and watched() is not None
    assert kept.release_idle(0) == 1 and freed == [True]
    gc.collect()
    assert watched() is None
    assert isinstance(kept.get("a", Network), Network)


def test_network_is_not_evict_under_a_running_request() -> None:
    kept: ModelCache[Network] = ModelCache(most=1)
    with kept.use("a", Network) as network:
        assert kept.release_idle(0) == 0
        kept.release()
        assert kept.get("a", Network) is network, "it is not loaded a second time meanwhile"
    assert kept.release_idle(0) == 1


def test_failing_request_gives_its_network_back() -> None:
    kept: ModelCache[Network] = ModelCache(most=1)
    with pytest.raises(RuntimeError), kept.use("a", Network):
        raise RuntimeError

    assert kept.release_idle(0) == 1


def test_network_stays_the_same_for_a_request_while_others_come_and_go() -> None:
    kept: ModelCache[Network] = ModelCache(most=1)

    def _request(_: int) -> bool:
        with kept.use("a", Network) as network:
            kept.release_idle(0)
            return kept.get("a", Network) is network

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(_request, range(400)))
