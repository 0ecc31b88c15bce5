"""Putting trained networks into the package: what is not named stays, and what is can be loaded."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from codec.nets.lite.config import LiteConfig
from codec.nets.lite.load import load_lite
from codec.nets.lite.network import LiteRestorer
from codec.nets.lite.vocabulary import Vocabulary
from codec.nets.loading.device_config import DeviceConfig
from codec.weights.index import read_index
from codec.weights.store import WeightsStore
from training import lite_release
from training.lite_vocabulary import keep_vocabulary


def run_of(folder: Path, network: torch.nn.Module) -> Path:
    folder.mkdir()
    torch.save({"averaged": network.state_dict()}, folder / "state.pt")
    return folder


def release(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["lite_release", *map(str, words)])
    lite_release.main()


def test_restorer_alone_is_replaced_and_can_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage1 = torch.nn.ModuleDict({"restorer": torch.nn.Conv2d(3, 4, 3), "discriminator": torch.nn.Conv2d(3, 1, 1)})
    release(monkeypatch, "--folder", tmp_path / "lite", "--stage1", run_of(tmp_path / "stage1", stage1))
    before = read_index(tmp_path / "lite")
    restorer = run_of(tmp_path / "restorer", LiteRestorer(LiteConfig.of(6)))
    keep_vocabulary(Vocabulary(np.array([3, 5, 8, 11, 12], np.int32)), restorer)
    release(monkeypatch, "--folder", tmp_path / "lite", "--restorer", restorer)

    after = read_index(tmp_path / "lite")
    assert list(before) == ["lite-stage1"] and after == {**before, "lite-restorer": after["lite-restorer"]}
    store = WeightsStore(tmp_path / "store", shipped=tmp_path / "lite")
    _, vocabulary = load_lite(store, after["lite-restorer"], DeviceConfig("cpu"))
    assert vocabulary.known.tolist() == [3, 5, 8, 11, 12]
    assert sorted(path.name for path in (tmp_path / "lite").iterdir() if not path.name.startswith(".")) == [
        "index.json", "lite-restorer.safetensors", "lite-stage1.safetensors",
    ]  # fmt: skip
