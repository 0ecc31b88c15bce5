"""Names become maps of the picture's shape, the same from any thread."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from codec.encode.locate.clip import CLIPLocator
from codec.encode.locate.masks import masks_from_maps
from codec.errors import WeightsMissing
from codec.nets.clip.surgery import CLIPSurgery
from codec.nets.clip.weights import clip_from_tensors
from tests.networks.nets.tiny_clip import openai_tensors

NAMES = ["astronaut helmet", "blue hair", "orange paint splatter"]


class CountingSurgery(CLIPSurgery):
    """Counts the texts that are computed."""

    texts = 0

    def text_features(self, sequences: list[list[int]]) -> torch.Tensor:
        self.texts += len(sequences)
        return super().text_features(sequences)


@pytest.fixture(scope="module")
def surgery() -> CountingSurgery:
    return CountingSurgery(clip_from_tensors(openai_tensors(), "tiny"))


@pytest.fixture(scope="module")
def locator(surgery: CountingSurgery) -> CLIPLocator:
    return CLIPLocator(surgery)


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (6, 9, 3)).astype(np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def test_each_name_gets_a_map_of_the_pictures_shape(locator: CLIPLocator) -> None:
    maps = locator.locate(photo(120, 90), NAMES)
    assert [values.shape for values in maps] == [(90, 120)] * 3
    assert all(values.dtype == np.uint8 and values.min() < 30 and values.max() > 225 for values in maps)
    assert len({values.tobytes() for values in maps}) == 3
    assert all(0 < sum(mask) < 64 for mask in masks_from_maps(maps).masks)


def test_no_names_give_no_maps(locator: CLIPLocator) -> None:
    assert locator.locate(photo(8, 8), []) == []


def test_empty_name_is_nowhere(locator: CLIPLocator) -> None:
    nowhere, somewhere = locator.locate(photo(64, 48), ["", "cat"])
    assert not nowhere.any() and somewhere.any()


def test_name_of_any_text_is_located(locator: CLIPLocator) -> None:
    for name in ("{0.__class__} %s", "<|endoftext|>", "é\x00😀\ud800", "word " * 800):
        (values,) = locator.locate(photo(16, 16), [name])
        assert values.shape == (16, 16)


def test_picture_is_squashed_without_cropping(locator: CLIPLocator) -> None:
    wide, square = locator.locate(photo(640, 160), NAMES), locator.locate(photo(320, 320), NAMES)
    for one, other in zip(wide, square, strict=True):
        assert np.abs(np.asarray(Image.fromarray(one).resize((320, 320)), np.float32) - other).mean() < 4


@pytest.mark.parametrize(("size", "shape"), [((4096, 1024), (512, 2048)), ((1, 1), (1, 1)), ((3, 4000), (2048, 2))])
def test_maps_of_large_pictures_are_bounded(
    locator: CLIPLocator, size: tuple[int, int], shape: tuple[int, int]
) -> None:
    (values,) = locator.locate(photo(*size), ["cat"])
    assert values.shape == shape


def test_name_is_computed_once(surgery: CountingSurgery) -> None:
    locator = CLIPLocator(surgery)
    before = surgery.texts
    locator.locate(photo(32, 32), ["cat", "dog", "cat"])
    assert surgery.texts - before == 3 * 85
    locator.locate(photo(32, 32, seed=1), ["dog", "cat"])
    assert surgery.texts - before == 3 * 85


def test_forgotten_names_are_computed_again(surgery: CountingSurgery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codec.encode.locate.clip._REMEMBERED_NAMES", 2)
    locator = CLIPLocator(surgery)
    first = locator.locate(photo(32, 32), ["cat", "dog", "bird"])
    before = surgery.texts
    second = locator.locate(photo(32, 32), ["cat", "dog", "bird"])
    assert surgery.texts - before >= 85
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_threads_share_a_locator(surgery: CountingSurgery) -> None:
    locator = CLIPLocator(surgery)
    pictures = [photo(64, 48, seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda picture: locator.locate(picture, NAMES), pictures))
    for picture, maps in zip(pictures, together, strict=True):
        assert np.array_equal(maps, locator.locate(picture, NAMES))


def test_locator_is_loaded_from_a_file(locator: CLIPLocator, tmp_path: Path) -> None:
    save_file(openai_tensors(), tmp_path / "clip.safetensors")
    loaded = CLIPLocator.load(tmp_path / "clip.safetensors")
    maps, expected = loaded.locate(photo(40, 30), NAMES), locator.locate(photo(40, 30), NAMES)
    assert masks_from_maps(maps).masks == masks_from_maps(expected).masks
    with pytest.raises(WeightsMissing):
        CLIPLocator.load(tmp_path / "elsewhere.safetensors")
