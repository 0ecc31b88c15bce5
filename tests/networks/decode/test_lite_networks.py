"""The shipped networks of the profile lite as the restorer's: any size, every schedule and solver, always the same."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_networks import ask, quarter_maps, smooth, textured

from codec.decode.diffusion.lite import LiteNetworks
from codec.decode.diffusion.networks import Stage
from codec.decode.diffusion.restorer import DiffusionRestorer
from codec.decode.restorers import Restorers
from codec.errors import WeightsCorrupt
from codec.nets.lite.load import find_lite, load_lite
from codec.nets.lite.rrdbnet import RRDBNet
from codec.nets.loading.device_config import DeviceConfig
from codec.options import DecodeOptions, Profile, Schedule, Solver
from codec.weights.index import Record
from codec.weights.manifest import Part
from codec.weights.store import WeightsStore

CPU = DeviceConfig("cpu", "float32")


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> LiteNetworks:
    store = WeightsStore(tmp_path_factory.mktemp("none"))
    return LiteNetworks(*load_lite(store, store.find(part=Part.RESTORER, profile=Profile.LITE), CPU))


@pytest.fixture(scope="module")
def restorer(networks: LiteNetworks) -> DiffusionRestorer:
    return DiffusionRestorer(networks, tile_px=256)


def painted(restorer: DiffusionRestorer, height: int = 70, width: int = 101, **options: object) -> np.ndarray:
    request = ask(textured(height, width), maps=quarter_maps(), res=None, profile="lite", **options)
    return np.asarray(restorer.finish(restorer.begin(request)))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (64, 64), (33, 200), (300, 290)])
def test_picture_of_any_size_comes_back_at_its_size(restorer: DiffusionRestorer, height: int, width: int) -> None:
    assert painted(restorer, height, width).shape == (height, width, 3)


def test_fast_schedule_takes_one_look(restorer: DiffusionRestorer) -> None:
    state = restorer.begin(ask(textured(70, 101), res=None, profile="lite"))

    restorer.finish(state)

    # The texts, three stages with nothing to denoise, and the look.
    assert state.steps_done == state.steps_total == 5
    assert set(state.seconds) == set(Stage) - {Stage.GUIDE}


@pytest.mark.parametrize(
    "options", [{"steps": 4}, {"steps": 3, "solver": Solver.DDPM}, {"solver": Solver.UNIPC, "steps": 3},
                {"schedule": Schedule.STAGED, "steps": 4}]
)  # fmt: skip
def test_more_looks_stay_near_the_one(restorer: DiffusionRestorer, options: dict[str, object]) -> None:
    once = painted(restorer).astype(int)

    error = np.abs(painted(restorer, **options).astype(int) - once).mean()

    assert 0 < error < 12, "levels of 255"


def test_same_request_gives_the_same_picture_and_another_seed_another(restorer: DiffusionRestorer) -> None:
    first = painted(restorer)

    assert np.array_equal(painted(restorer), first)
    assert not np.array_equal(painted(restorer, seed=8), first)


def test_texts_and_where_they_hold_reach_the_network(networks: LiteNetworks) -> None:
    condition = networks.encode(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    vectors = networks.embed(["a red door", "smooth pale blue sky-like area across the top"])[None]
    left = torch.zeros(1, 2, 8, 8)
    left[:, 0, :, :4], left[:, 1, :, 4:] = 1, 1

    outputs = [
        networks.predict(condition, torch.tensor([99]), texts, condition, 1.0, regions)
        for texts, regions in ((vectors, left), (vectors.flip(1), left), (vectors, left.flip(3)))
    ]

    assert not torch.equal(outputs[0], outputs[1])
    assert torch.allclose(outputs[1], outputs[2], atol=1e-5), "swapped texts are swapped places"


def test_picture_keeps_to_what_the_coarse_one_shows(restorer: DiffusionRestorer) -> None:
    coarse = smooth(96, 160)

    result = restorer.finish(restorer.begin(ask(coarse, res=None, profile="lite")))

    assert np.abs(np.asarray(result).astype(int) - coarse).mean() < 8, "levels of 255"


def test_half_precision_paints_nearly_the_same(networks: LiteNetworks, tmp_path: Path) -> None:
    store = WeightsStore(tmp_path)
    record = store.find(part=Part.RESTORER, profile=Profile.LITE)
    halves = LiteNetworks(*load_lite(store, record, DeviceConfig("cpu", "bfloat16")))
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    outputs = []
    for each in (networks, halves):
        latent, times = each.encode(picture), torch.tensor([99])
        with torch.inference_mode():
            outputs.append(each.decode(each.predict(latent, times, each.embed(["a door"])[None], latent)))

    assert outputs[1].dtype == torch.float32
    assert (outputs[0] - outputs[1]).abs().mean() < 0.01


def shipped_tensors(store: WeightsStore) -> dict[str, torch.Tensor]:
    return load_file(store.checked(store.find(part=Part.RESTORER, profile=Profile.LITE)))


def taken_in(store: WeightsStore, tensors: dict[str, torch.Tensor], name: str, file: Path) -> Record:
    save_file(tensors, file)
    return store.add(file, name=name, part=Part.RESTORER, architecture="lite", profiles=(Profile.LITE,))


@pytest.mark.parametrize("fault", ["none", "empty", "longer", "not rising", "of another type"])
def test_weights_without_their_vocabulary_are_refused(tmp_path: Path, fault: str) -> None:
    store = WeightsStore(tmp_path / "store")
    tensors = shipped_tensors(store)
    known = tensors.pop("vocabulary")
    others = {
        "empty": known[:0],
        "longer": torch.cat([known, known[-1:] + 1]),
        "not rising": known.flip(0),
        "of another type": known.float(),
    }
    if fault in others:
        tensors["vocabulary"] = others[fault].contiguous()
    record = taken_in(store, tensors, "mine", tmp_path / "x.safetensors")

    with pytest.raises(WeightsCorrupt, match="no lite restorer"):
        load_lite(store, record, CPU)


def test_restorer_that_was_taken_in_paints_instead_of_the_shipped_one(tmp_path: Path) -> None:
    store = WeightsStore(tmp_path / "store")
    assert find_lite(store).name == "lite-restorer"
    tensors = shipped_tensors(store)
    for number, name in enumerate(("mine-1", "mine-2", "a-new-one")):
        tensors["unet.conv_out.bias"] += number + 1
        taken_in(store, tensors, name, tmp_path / f"{name}.safetensors")
    assert find_lite(store).name == "mine-2", "the last by name"


def test_profile_lite_is_loaded_once_and_let_go(tmp_path: Path) -> None:
    restorers = Restorers(WeightsStore(tmp_path), CPU)
    with restorers.use(DecodeOptions()) as first, restorers.use(DecodeOptions(steps=2)) as second:
        assert first is second

    assert restorers.release_idle(0) == 1


def test_tiles_paint_what_the_whole_picture_would_have_been(networks: LiteNetworks) -> None:
    photo = skimage.data.astronaut()[:384, :512]
    coarse = np.asarray(Image.fromarray(photo).resize((128, 96)).resize((512, 384), Image.Resampling.BICUBIC))
    pictures = []
    for tile_px in (256, 1024):
        restorer = DiffusionRestorer(networks, tile_px=tile_px)
        state = restorer.begin(ask(coarse, maps=quarter_maps(), res=None, profile="lite"))
        pictures.append(np.asarray(restorer.finish(state)).astype(float))
        assert (state.steps_done > 5) == (tile_px == 256)

    error = np.mean((pictures[0] - pictures[1]) ** 2)

    assert 10 * np.log10(255**2 / error) >= 30


def test_diffusion_begins_with_what_stage_1_makes_of_the_coarse_picture(tmp_path: Path) -> None:
    store = WeightsStore(tmp_path)
    network, vocabulary = load_lite(store, find_lite(store), CPU)
    torch.manual_seed(3)
    stage1 = RRDBNet(blocks=1).eval().requires_grad_(False)
    picture = torch.rand(1, 3, 64, 64)

    with torch.inference_mode():
        alone = LiteNetworks(network, vocabulary).clean(picture)
        behind = LiteNetworks(network, vocabulary, stage1).clean(picture)
        expected = stage1(picture).clamp(0, 1)

    assert torch.equal(alone, picture)
    assert torch.equal(behind, expected) and not torch.equal(behind, picture)
