"""Learned codecs out of the folder of weights: found by what streams and options say, loaded once."""

import threading
import time
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from compressai.models import FactorizedPrior
from PIL import Image

from codec.errors import WeightsCorrupt, WeightsMissing
from codec.nets.compression.load import find_in, load_coarse_network, release_idle
from codec.nets.loading.model_cache import ModelCache
from codec.options import Profile
from codec.weights.manifest import Part
from codec.weights.store import WeightsStore


@pytest.fixture
def store(tmp_path: Path) -> WeightsStore:
    """A store with one tiny network of a real architecture."""
    release_idle(0)
    torch.manual_seed(1)
    torch.save({"state_dict": FactorizedPrior(8, 12).state_dict()}, tmp_path / "tiny.pth.tar")
    store = WeightsStore(tmp_path / "weights", released=(), shipped=None)
    store.add(
        tmp_path / "tiny.pth.tar", name="tiny", part=Part.COARSE, architecture="bmshj2018-factorized",
        profiles=(Profile.SD21,), rate=1,
    )  # fmt: skip
    return store


def test_name_profile_and_digest_lead_to_the_same_network(store: WeightsStore, tmp_path: Path) -> None:
    digest = sha256((tmp_path / "tiny.pth.tar").read_bytes()).digest()

    network = load_coarse_network(store, name="tiny", rate=3)

    assert network.digest == digest[:4]
    assert load_coarse_network(store, profile=Profile.SD21, rate=1) is network
    assert find_in(store)(digest[:4]) is network


def test_what_one_compresses_the_one_found_by_digest_decompresses(store: WeightsStore) -> None:
    picture = Image.linear_gradient("L").resize((40, 24)).convert("RGB")
    network = load_coarse_network(store, name="tiny")
    coarse = network.compress(picture, 1)
    release_idle(0)

    again = find_in(store)(network.digest)

    assert again is not network
    assert again.decompress(coarse, 40, 24).size == (40, 24)


def test_network_that_is_not_here_is_missing(store: WeightsStore) -> None:
    with pytest.raises(WeightsMissing, match="0badcafe"):
        find_in(store)(bytes.fromhex("0badcafe"))
    with pytest.raises(WeightsMissing, match="rate 2"):
        load_coarse_network(store, profile=Profile.SD21, rate=2)


def test_file_that_was_changed_is_never_read(store: WeightsStore) -> None:
    file = store.file_of(store.find(name="tiny"))
    file.write_bytes(b"PK\x03\x04" + file.read_bytes()[4:-1] + b"?")

    with pytest.raises(WeightsCorrupt, match="SHA-256"):
        load_coarse_network(store, name="tiny")


def test_threads_that_want_the_same_wait_for_one_load() -> None:
    kept: ModelCache[object] = ModelCache(most=2)
    loads: list[int] = []

    def load() -> object:
        loads.append(1)
        time.sleep(0.05)
        return object()

    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(kept.get("a", load))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(loads), len(set(map(id, found)))) == (1, 1)


def test_least_used_is_evict_and_a_failed_load_leaves_nothing() -> None:
    kept: ModelCache[object] = ModelCache(most=2)
    first = kept.get("a", object)
    second = kept.get("b", object)
    assert kept.get("a", object) is first
    kept.get("c", object)

    assert kept.get("a", object) is first
    assert kept.get("b", object) is not second
    with pytest.raises(ZeroDivisionError):
        kept.get("d", lambda: 1 / 0)
    assert kept.get("d", lambda: "d") == "d"
