"""The locator out of the folder of weights: which CLIP it takes, and what happens without one."""

from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import save_file

from codec.encode.locate.load import load_locator, release_idle
from codec.errors import WeightsCorrupt
from codec.weights.manifest import Part
from codec.weights.store import WeightsStore
from tests.networks.nets.tiny_clip import openai_tensors


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "tiny.safetensors"
    save_file(openai_tensors(), path)
    return path


@pytest.fixture
def store(tmp_path: Path, clip_file: Path) -> WeightsStore:
    release_idle(0)
    store = WeightsStore(tmp_path / "weights")
    store.add(clip_file, name="tiny", part=Part.CLIP, architecture="clip-vit", is_linked=True)
    return store


def test_without_a_clip_there_is_no_locator(tmp_path: Path) -> None:
    assert load_locator(WeightsStore(tmp_path)) is None


def test_clip_that_is_here_locates_and_is_loaded_once(store: WeightsStore) -> None:
    locator = load_locator(store)

    assert locator is not None
    assert load_locator(store) is locator
    assert locator.locate(Image.new("RGB", (30, 20), "teal"), ["a cat"])[0].shape == (20, 30)


def test_damaged_clip_is_told_before_it_is_read(tmp_path: Path, clip_file: Path) -> None:
    release_idle(0)
    store = WeightsStore(tmp_path)
    record = store.add(clip_file, name="tiny", part=Part.CLIP, architecture="clip-vit")
    store.file_of(record).write_bytes(clip_file.read_bytes()[:-1] + b"?")

    with pytest.raises(WeightsCorrupt, match="SHA-256"):
        load_locator(store)


def test_file_that_went_away_is_as_none(tmp_path: Path) -> None:
    store = WeightsStore(tmp_path / "weights")
    (tmp_path / "clip.pt").write_bytes(b"clip")
    store.add(tmp_path / "clip.pt", name="gone", part=Part.CLIP, architecture="clip-vit", is_linked=True)
    (tmp_path / "clip.pt").unlink()

    assert load_locator(store) is None
