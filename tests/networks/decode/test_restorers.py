"""The restorers of a process: found by profile, loaded once, let go when idle, and always the same picture."""

import gc
import weakref
from pathlib import Path

import pytest

from codec.bitstream import Maps, PixelCoarse, Stream, Texts
from codec.bitstream.container import pack
from codec.decode.pipeline import decode
from codec.decode.restorers import Restorers
from codec.errors import WeightsCorrupt, WeightsMissing
from codec.nets.loading.device_config import DeviceConfig
from codec.options import DecodeOptions, Profile, RestorerName
from codec.weights.store import WeightsStore
from tests.tiny.diffbir import add_single

STREAM = Stream(
    72,
    56,
    PixelCoarse(5, 4, 3, bytes(range(20)) * 3),
    Texts(("a red door", "an old clock"), "A house by the sea."),
    Maps(8, (bytes([1] * 32 + [0] * 32), bytes([0] * 32 + [1] * 32))),
)
DATA = pack(STREAM).data
OPTIONS = DecodeOptions(profile=Profile.SD21, steps=2, res=64)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> WeightsStore:
    folder = tmp_path_factory.mktemp("weights")
    store = WeightsStore(folder / "store")
    add_single(store, folder)
    return store


@pytest.fixture(scope="module")
def restorers(store: WeightsStore) -> Restorers:
    return Restorers(store, DeviceConfig("cpu"))


def painted(restorers: Restorers, options: DecodeOptions = OPTIONS) -> bytes:
    with restorers.use(options) as restorer:
        decoded = decode(DATA, options, restorer=restorer)
    assert (decoded.restorer, decoded.generative, decoded.picture.size) == ("diffusion", True, (72, 56))
    return decoded.picture.tobytes()


def test_each_profile_paints_by_its_own_networks_and_smooth_by_none(restorers: Restorers) -> None:
    with restorers.use(OPTIONS) as heavy, restorers.use(OPTIONS) as again:
        assert again is heavy and heavy.name == "diffusion"
    with restorers.use(DecodeOptions()) as light:
        assert light.name == "gan"
    with restorers.use(OPTIONS.model_copy(update={"restorer": RestorerName.SMOOTH})) as chosen:
        assert chosen.name == "smooth"
    assert restorers.release_idle(0) == 1


def test_same_picture_twice_and_after_the_networks_were_let_go(restorers: Restorers) -> None:
    first = painted(restorers)
    assert painted(restorers) == first
    with restorers.use(OPTIONS) as restorer:
        watched = weakref.ref(restorer)
        assert restorers.release_idle(0) == 0, "they are in use"
    del restorer

    assert restorers.release_idle(0) == 1
    gc.collect()
    assert watched() is None
    assert painted(restorers) == first
    assert painted(restorers, OPTIONS.model_copy(update={"seed": 3})) != first


def test_stages_of_painting_are_timed(restorers: Restorers) -> None:
    with restorers.use(OPTIONS) as restorer:
        seconds = decode(DATA, OPTIONS, restorer=restorer).seconds

    stages = {name for name in seconds if name.startswith("restore_")}
    assert stages == {f"restore_{stage}" for stage in ("embed", "clean", "encode", "diffuse", "decode")}
    assert 0 < sum(seconds[stage] for stage in stages) <= seconds["restore"]


def test_warm_restorer_has_its_networks_before_the_first_request(store: WeightsStore) -> None:
    restorers = Restorers(store, DeviceConfig("cpu"))
    for profile in Profile:
        restorers.warm_up(profile)
        assert restorers.release_idle(0) == 1


def test_missing_and_damaged_weights_are_told_each_time(store: WeightsStore, tmp_path: Path) -> None:
    empty = Restorers(WeightsStore(tmp_path / "none"))
    with pytest.raises(WeightsMissing, match=r"general_full_v1\.ckpt.*b511f6be.*misc weights pull"):
        painted(empty)

    (tmp_path / "copy").mkdir()
    damaged = WeightsStore(tmp_path / "store")
    record = add_single(damaged, tmp_path / "copy")
    damaged.file_of(record).write_bytes(b"something else")
    for _ in range(2):
        with pytest.raises(WeightsCorrupt, match=f"tiny .*not {record.sha256[:16]}"):
            painted(Restorers(damaged))
