"""DiffBIR's published files with the published keys, tiny shapes and random values, taken into a folder of weights."""

import json
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import save_file

from codec.options import Profile
from codec.weights.index import Record
from codec.weights.manifest import Part
from codec.weights.store import WeightsStore

_FIGURES = Path(__file__).parents[1] / "parity" / "data"

FIRST_STAGE = "preprocess_model."

Tensors = dict[str, torch.Tensor]


@cache
def single_file() -> Tensors:
    """All tensors of `general_full_v1.ckpt`; convolutions and matrices keep the variance of what passes through."""
    keys = json.loads((_FIGURES / "diffbir.json").read_text())["keys"]
    first_stage = json.loads((_FIGURES / "swinir.json").read_text())["keys"]
    keys |= {FIRST_STAGE + key: shape for key, shape in first_stage.items()}
    generator = torch.Generator().manual_seed(0)
    return {key: _drawn(key, shape, generator) for key, shape in keys.items()}


def base_file() -> Tensors:
    """Those of Stable Diffusion's single file."""
    return {key: value for key, value in single_file().items() if not key.startswith(("control_model.", FIRST_STAGE))}


def part_of(prefix: str) -> Tensors:
    """Those of the control network ("control_model.") or the first stage by itself."""
    return {key.removeprefix(prefix): value for key, value in single_file().items() if key.startswith(prefix)}


def add_single(store: WeightsStore, folder: Path, name: str = "tiny") -> Record:
    """The single file in a store, for the profile sd21."""
    path = folder / f"{name}.safetensors"
    save_file(single_file(), path)
    return store.add(path, name=name, part=Part.RESTORER, architecture="diffbir-v1", profiles=(Profile.SD21,))


def add_parts(store: WeightsStore, folder: Path, control: str = "diffbir-v1", base: str = "sd21") -> list[Record]:
    """Base, control network and first stage of these architectures in a store, for the profile sd21."""
    records = []
    for part, architecture, tensors in (
        (Part.BASE, base, {"state_dict": base_file()}),
        (Part.CONTROL, control, part_of("control_model.")),
        (Part.SWINIR, "swinir", {"state_dict": part_of(FIRST_STAGE)}),
    ):
        path = folder / f"{part}.ckpt"
        torch.save(tensors, path)
        record = store.add(
            path, name=f"tiny-{architecture}-{part}", part=part, architecture=architecture, profiles=(Profile.SD21,)
        )
        records.append(record)
    return records


def _drawn(key: str, shape: list[int], generator: torch.Generator) -> torch.Tensor:
    values = torch.rand(shape, generator=generator) * 2 - 1
    if len(shape) > 1:
        return values * (3 / values[0].numel()) ** 0.5
    return 1 + values / 10 if key.endswith("weight") else values / 50
