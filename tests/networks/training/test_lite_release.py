"""Putting trained networks into the package: what is not named stays, and coarse networks are not replaced unasked."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from compressai.models import JointAutoregressiveHierarchicalPriors

from codec.nets.lite.config import LiteConfig
from codec.nets.lite.load import load_lite
from codec.nets.lite.network import LiteRestorer
from codec.nets.lite.vocabulary import Vocabulary
from codec.nets.loading.device_config import DeviceConfig
from codec.weights.index import read_index
from codec.weights.store import WeightsStore
from training import lite_release
from training.lite_coarse import WIDTH
from training.lite_vocabulary import keep_vocabulary


def run_of(folder: Path, network: torch.nn.Module) -> Path:
    folder.mkdir()
    torch.save({"averaged": network.state_dict()}, folder / "state.pt")
    return folder


@pytest.fixture(scope="module")
def coarse(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four runs of coarse codecs."""
    folder = tmp_path_factory.mktemp("coarse")
    torch.manual_seed(2)
    return [run_of(folder / str(each), JointAutoregressiveHierarchicalPriors(WIDTH, WIDTH)) for each in range(4)]


def release(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["lite_release", *map(str, words)])
    lite_release.main()


def test_restorer_alone_is_replaced_and_can_be_loaded(
    coarse: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(monkeypatch, "--folder", tmp_path / "lite", "--coarse", *coarse[:3])
    before = read_index(tmp_path / "lite")
    restorer = run_of(tmp_path / "restorer", LiteRestorer(LiteConfig.of(6)))
    keep_vocabulary(Vocabulary(np.array([3, 5, 8, 11, 12], np.int32)), restorer)
    release(monkeypatch, "--folder", tmp_path / "lite", "--restorer", restorer)

    after = read_index(tmp_path / "lite")
    assert set(after) == {*before, "lite-restorer"}
    assert {name: after[name] for name in before} == before
    store = WeightsStore(tmp_path / "store", shipped=tmp_path / "lite")
    _, vocabulary = load_lite(store, after["lite-restorer"], DeviceConfig("cpu"))
    assert vocabulary.known.tolist() == [3, 5, 8, 11, 12]
    assert sorted(path.name for path in (tmp_path / "lite").iterdir() if not path.name.startswith(".")) == [
        "index.json", "lite-coarse-1.safetensors", "lite-coarse-2.safetensors", "lite-coarse-3.safetensors",
        "lite-restorer.safetensors",
    ]  # fmt: skip


def test_other_coarse_networks_need_to_be_asked_for(
    coarse: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ("--folder", tmp_path)
    release(monkeypatch, *folder, "--coarse", *coarse[:3])
    before = read_index(tmp_path)
    release(monkeypatch, *folder, "--coarse", *coarse[:3])
    with pytest.raises(SystemExit):
        release(monkeypatch, *folder, "--coarse", *coarse[1:])
    assert read_index(tmp_path) == before
    release(monkeypatch, *folder, "--coarse", *coarse[1:], "--replace-coarse")
    assert read_index(tmp_path)["lite-coarse-1"] != before["lite-coarse-1"]
