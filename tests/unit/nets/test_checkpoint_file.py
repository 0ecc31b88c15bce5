"""Checkpoint files give their tensors and nothing else, whatever else is in them."""

import pickle
import sys
import types
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import torch
from safetensors.torch import save_file

from codec.errors import WeightsCorrupt, WeightsMissing
from codec.nets.checkpoint_file import read_tensors

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2, dtype=torch.float16)}


def assert_read(path: Path) -> None:
    read = read_tensors(path)
    assert read.keys() == TENSORS.keys()
    for key, tensor in TENSORS.items():
        assert read[key].dtype == tensor.dtype
        assert torch.equal(read[key], tensor)


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "a.safetensors")
    assert_read(tmp_path / "a.safetensors")


@pytest.mark.parametrize("name", ["a.ckpt", "a.pth", "a.bin"])
def test_a_pytorch_file_is_read(tmp_path: Path, name: str) -> None:
    torch.save(TENSORS, tmp_path / name)
    assert_read(tmp_path / name)


def test_a_trainers_file_is_looked_into(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": TENSORS, "loops": {}}, tmp_path / "a.ckpt")
    assert_read(tmp_path / "a.ckpt")


def test_the_prefix_of_data_parallel_training_is_dropped(tmp_path: Path) -> None:
    torch.save({f"module.{key}": tensor for key, tensor in TENSORS.items()}, tmp_path / "a.pth")
    assert_read(tmp_path / "a.pth")


def test_a_trainers_objects_beside_the_weights_need_not_exist_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "pytorch_lightning.callbacks.model_checkpoint"
    callback = type("ModelCheckpoint", (), {"__module__": name})
    with monkeypatch.context() as installed:
        for depth in range(1, 4):
            installed.setitem(sys.modules, ".".join(name.split(".")[:depth]), types.ModuleType(name))
        installed.setattr(sys.modules[name], "ModelCheckpoint", callback, raising=False)
        beside = callback()
        beside.best = "x"
        torch.save({"callbacks": {callback: beside}, "state_dict": TENSORS}, tmp_path / "a.ckpt")
    assert_read(tmp_path / "a.ckpt")


class Bomb:
    """Unpickling it would run a command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    torch.save({**TENSORS, "x": Bomb(tmp_path / "ran")}, tmp_path / "a.ckpt")
    with pytest.raises(WeightsCorrupt, match=r"a\.ckpt cannot be read"):
        read_tensors(tmp_path / "a.ckpt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("keep", [0, 10, 150, -1])
@pytest.mark.parametrize("suffix", ["ckpt", "safetensors"])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str, keep: int) -> None:
    path = tmp_path / f"a.{suffix}"
    save_file(TENSORS, path) if suffix == "safetensors" else torch.save(TENSORS, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsCorrupt):
        read_tensors(path)


@pytest.mark.parametrize(
    "content", [{}, [1, 2], torch.ones(3), {"a": 1}, {1: torch.ones(1)}, {"a": {"b": torch.ones(1)}}]
)
def test_what_is_no_dictionary_of_tensors_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(WeightsCorrupt):
        read_tensors(tmp_path / "a.ckpt")


def test_a_compressed_file_is_refused(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "stored.ckpt")
    with ZipFile(tmp_path / "stored.ckpt") as stored, ZipFile(tmp_path / "a.ckpt", "w", ZIP_DEFLATED) as packed:
        for name in stored.namelist():
            packed.writestr(name, stored.read(name))
    with pytest.raises(WeightsCorrupt, match="compressed"):
        read_tensors(tmp_path / "a.ckpt")


def test_the_old_format_of_pytorch_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.ckpt").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(WeightsCorrupt, match="zip format"):
        read_tensors(tmp_path / "a.ckpt")


def test_a_file_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing):
        read_tensors(tmp_path / "a.ckpt")
