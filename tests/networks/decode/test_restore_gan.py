"""The GAN restorer: tiles that equal the whole, previews, failures that end one request, and the shipped weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from tiny_networks import ask, quarter_maps, textured

from codec.bitstream.stream import ExternalCoarse, RefCoarse
from codec.decode.restore import RestoreRequest, get_restorer
from codec.decode.restore.gan import GANRestorer
from codec.errors import FeatureUnavailable, OutOfMemory, WeightsCorrupt
from codec.nets.lite.load import find_stage1, load_stage1
from codec.nets.lite.rrdbnet import RRDBNet
from codec.nets.loading.device_config import DeviceConfig
from codec.options import RestorerName
from codec.picture.coded import read_coded, write_coded
from codec.picture.resize import enlarge_to, reduce_by
from codec.weights.store import WeightsStore

CPU = DeviceConfig("cpu", "float32")


@pytest.fixture(scope="module")
def network() -> RRDBNet:
    torch.manual_seed(4)
    network = RRDBNet(blocks=1).eval().requires_grad_(False)
    # Values of a picture's size, so that rounding to 8 bits is no large part of them.
    network.last.weight *= 20
    network.last.bias += 0.5
    return network


def request(height: int, width: int, seed: int = 7) -> RestoreRequest:
    return ask(textured(height, width), restorer="gan", res=None, seed=seed)


def grey_network() -> RRDBNet:
    """A network that restores everything to one grey."""
    network = RRDBNet(blocks=0).eval().requires_grad_(False)
    network.last.weight.zero_()
    network.last.bias.fill_(0.5)
    return network


def restored(restorer: GANRestorer, asked: RestoreRequest) -> np.ndarray:
    return np.asarray(restorer.finish(restorer.begin(asked)))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 50), (64, 64), (70, 101)])
def test_picture_of_any_size_comes_back_at_its_size(network: RRDBNet, height: int, width: int) -> None:
    assert restored(GANRestorer(network), request(height, width)).shape == (height, width, 3)


def test_tiles_give_what_the_whole_picture_gives(network: RRDBNet) -> None:
    asked = request(300, 500)

    whole = restored(GANRestorer(network), asked).astype(int)
    restorer = GANRestorer(network, tile_px=256)
    state = restorer.begin(asked)
    tiled = np.asarray(restorer.finish(state)).astype(int)

    assert state.steps_total > 1
    assert np.ptp(whole) > 50, "a picture that is grey all over would prove nothing"
    assert np.abs(tiled - whole).max() <= 1


def test_seed_texts_and_maps_change_nothing(network: RRDBNet) -> None:
    plain = request(40, 60)
    other = ask(textured(40, 60), maps=quarter_maps(), restorer="gan", res=None, seed=99)

    assert np.array_equal(restored(GANRestorer(network), plain), restored(GANRestorer(network), other))


def test_the_originals_grain_is_added_as_the_seed_says() -> None:
    smooth = request(200, 240)
    restorer = GANRestorer(grey_network())
    bare = restored(restorer, smooth).astype(float)

    grained = restored(restorer, replace(smooth, grain=4.0))

    assert np.ptp(bare) == 0
    assert (grained - bare).std() == pytest.approx(0.8 * 4.0, rel=0.1)
    assert np.array_equal(restored(restorer, replace(smooth, grain=4.0)), grained)
    assert not np.array_equal(restored(restorer, replace(smooth, grain=4.0, seed=8)), grained)


def test_a_fine_coarse_picture_gets_no_grain(network: RRDBNet) -> None:
    plain = replace(request(100, 128), coarse_payload=ExternalCoarse(bytes(16), declared_bits=6_400))
    restorer = GANRestorer(network)
    assert np.array_equal(restored(restorer, replace(plain, grain=4.0)), restored(restorer, plain))


@pytest.mark.parametrize(("bits", "share"), [(1_000, 1.0), (3_520, 0.5), (6_400, 0.0)])
def test_the_finer_the_coarse_picture_the_less_is_the_networks(network: RRDBNet, bits: int, share: float) -> None:
    plain = request(100, 128)
    payload = ExternalCoarse(bytes(16), declared_bits=bits)

    restorer = GANRestorer(network)
    anew = restored(restorer, plain).astype(float)
    state = restorer.begin(replace(plain, coarse_payload=payload))
    mixed = np.asarray(restorer.finish(state)).astype(float)

    assert state.steps_total == (1 if share else 0)
    expected = share * anew + (1 - share) * plain.coarse
    assert np.abs(mixed - expected).max() <= (1.1 if 0 < share < 1 else 0)


def test_wrapper_of_a_small_file_does_not_count_as_detail(network: RRDBNet) -> None:
    file = write_coded("avif", Image.fromarray(textured(32, 32)).resize((32, 32)), 10, thorough=False)
    small = replace(request(64, 64), coarse_payload=RefCoarse("avif", 2, file))

    assert 8 * len(file) / 64**2 > 0.4, "with its wrapper it would be a fine one"
    assert GANRestorer(network).begin(small).steps_total == 1


def test_preview_shows_finished_tiles_over_the_coarse_picture(network: RRDBNet) -> None:
    asked = request(256, 700)
    restorer = GANRestorer(network, tile_px=256)
    state = restorer.begin(asked)
    before = np.asarray(state.preview()).astype(int)

    restorer.step([state])

    after = np.asarray(state.preview()).astype(int)
    assert max(state.preview().size) == 512
    assert np.abs(after[:, :60] - before[:, :60]).mean() > 5
    assert np.array_equal(after[:, -60:], before[:, -60:])


def test_one_step_is_one_tile_and_time_is_counted(network: RRDBNet) -> None:
    restorer = GANRestorer(network, tile_px=128)
    states = [restorer.begin(request(200, 200)), restorer.begin(request(64, 64))]

    restorer.step(states)

    assert [state.steps_done for state in states] == [1, 1]
    assert [state.is_done for state in states] == [False, True]
    assert all(state.seconds["gan"] > 0 for state in states)


def test_failing_network_ends_its_own_request(network: RRDBNet, monkeypatch: pytest.MonkeyPatch) -> None:
    restorer = GANRestorer(network)
    failing, other = restorer.begin(request(64, 64)), restorer.begin(request(32, 32))
    inner = network.forward

    def forward(values: torch.Tensor) -> torch.Tensor:
        if values.shape[2] == 64:
            raise torch.OutOfMemoryError("no memory")
        return inner(values)

    monkeypatch.setattr(network, "forward", forward)
    restorer.step([failing, other])

    assert isinstance(failing.failure, OutOfMemory) and other.failure is None and other.is_done
    with pytest.raises(OutOfMemory):
        restorer.finish(failing)


def test_picture_that_memory_cannot_hold_is_refused_before_work(
    network: RRDBNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codec.decode.restore.gan.free_host_bytes", lambda: 1_000_000)

    with pytest.raises(OutOfMemory, match="64 x 64"):
        GANRestorer(network).begin(request(64, 64))


def test_restorer_without_its_network_is_refused() -> None:
    with pytest.raises(FeatureUnavailable):
        get_restorer(RestorerName.GAN)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> GANRestorer:
    store = WeightsStore(tmp_path_factory.mktemp("none"))
    return GANRestorer(load_stage1(store, find_stage1(store), CPU))


def test_shipped_weights_sharpen_a_photo_and_keep_its_colours_and_shapes(shipped: GANRestorer) -> None:
    photo = Image.fromarray(skimage.data.coffee()).crop((150, 100, 406, 292))
    file = write_coded("avif", reduce_by(photo, 2), 20, thorough=False)
    coarse = enlarge_to(read_coded("avif", file, 128, 96), 256, 192)
    asked = ask(np.asarray(coarse), restorer="gan", res=None)

    picture = restored(shipped, asked)

    original = np.asarray(photo)
    assert 1.15 * gradient(np.asarray(coarse)) < gradient(picture) < 1.1 * gradient(original)
    assert psnr(original, picture) > psnr(original, np.asarray(coarse)) - 1.5
    boxes = [Image.fromarray(each).reduce(16) for each in (original, picture)]
    assert np.abs(np.asarray(boxes[0], int) - np.asarray(boxes[1], int)).mean() < 4


def gradient(picture: np.ndarray) -> float:
    """Mean difference of neighbouring samples."""
    return float(np.abs(np.diff(picture.astype(float), axis=1)).mean())


def psnr(original: np.ndarray, picture: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(original.astype(float) - picture).mean()))


def test_file_of_other_tensors_is_no_stage_1(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from codec.options import Profile
    from codec.weights.manifest import Part

    save_file({"first.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "other.safetensors")
    store = WeightsStore(tmp_path / "store")
    record = store.add(
        tmp_path / "other.safetensors", name="mine", part=Part.STAGE1, architecture="rrdbnet",
        profiles=(Profile.LITE,),
    )  # fmt: skip

    assert find_stage1(store).name == "mine", "one's own file goes before the shipped one"
    with pytest.raises(WeightsCorrupt, match="mine"):
        load_stage1(store, record, CPU)
