"""Reads the tensors of a checkpoint file, as safetensors or as PyTorch's zip. Runs nothing that the file brings along.

Knows no network. Digests are checked elsewhere, before a file gets here.
"""

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from codec.errors import WeightsCorrupt, WeightsMissing

MAX_TENSORS = 20_000
"""The largest published file has 2,405; more than this is no checkpoint of ours."""


class _Inert:
    """Stands in for what trainers leave beside the weights, so that it need not exist here and does nothing."""

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


_LEFT_BESIDE = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file by key, mapped into memory rather than copied where the format allows.

    Looks into `state_dict` where a trainer wrote one, and drops the `module.` that data parallelism puts before keys.
    Raises WeightsMissing without such a file, and WeightsCorrupt for one that holds anything but dense tensors.
    """
    if not path.is_file():
        raise WeightsMissing(f"There is no file {path}.")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_zip(path)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content:
        raise WeightsCorrupt(f"{path.name} holds no named tensors.")
    if len(content) > MAX_TENSORS:
        raise WeightsCorrupt(f"{path.name} has {len(content)} entries; at most {MAX_TENSORS} are read.")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor) or value.layout is not torch.strided:
            raise WeightsCorrupt(f"{path.name}: the entry {key!r} is no dense tensor.")
    if all(key.startswith("module.") for key in content):
        return {key.removeprefix("module."): value for key, value in content.items()}
    return dict(content)


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsCorrupt(f"{path.name} is no readable safetensors file: {error}") from error


def _read_zip(path: Path) -> Any:
    """What `torch.save` wrote. Its older format is refused: it cannot be mapped, only read whole."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except zipfile.BadZipFile as error:
        raise WeightsCorrupt(f"{path.name} is no checkpoint in PyTorch's zip format.") from error
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise WeightsCorrupt(f"{path.name} is compressed, which PyTorch's files never are; it could grow without end.")
    stand_ins: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [(_Inert, name) for name in _LEFT_BESIDE]
    try:
        with torch.serialization.safe_globals(stand_ins):
            return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, KeyError, TypeError, EOFError, OSError) as error:
        first_line = str(error).partition("\n")[0]
        raise WeightsCorrupt(f"{path.name} cannot be read as a checkpoint: {first_line}") from error
