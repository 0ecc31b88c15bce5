"""Weights of learned codecs for the tests: scaled ones that exercise the coder, and small ones that never change."""

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import skimage.data
import torch
from compressai.zoo.image import model_architectures
from PIL import Image

from bench.coarse_weights import make_model
from codec.nets.compression.network import LearnedCodec, load_network

ARCHITECTURES = {
    "bmshj2018-factorized": (16, 24),
    "bmshj2018-hyperprior": (16, 24),
    "mbt2018-mean": (16, 24),
    "mbt2018": (16, 24),
    "cheng2020-anchor": (16, 16),
    "cheng2020-attn": (16, 16),
}
"""Widths N and M small enough for tests."""


@lru_cache(maxsize=1)
def photo() -> Image.Image:
    """A real picture of 768x512."""
    return Image.fromarray(skimage.data.coffee()).resize((768, 512), Image.Resampling.LANCZOS)


def save_exercising(architecture: str, path: Path) -> None:
    """Scaled random weights as a file; results may only be compared where the same file is loaded."""
    width, depth = ARCHITECTURES[architecture]
    model = make_model(architecture, width, depth, picture=photo().resize((384, 256)))
    torch.save({"state_dict": model.state_dict()}, path)


def load(architecture: str, path: Path) -> LearnedCodec:
    """The codec whose weights are in the file."""
    state = torch.load(path, weights_only=True)
    return load_network(architecture, state, hashlib.sha256(path.read_bytes()).digest())


def unchanging_state(architecture: str, width: int, depth: int) -> dict[str, torch.Tensor]:
    """Weights made of integers alone, so that every machine and version has the same ones."""
    build = model_architectures[architecture]
    model = build(width) if architecture.startswith("cheng") else build(width, depth)
    state = {}
    for key, value in model.state_dict().items():
        if not value.is_floating_point() or not value.numel() or "_reparam" in key or key.endswith("mask"):
            continue
        seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")
        raw = np.random.PCG64(seed).random_raw(value.numel()) >> np.uint64(56)
        # Steps of a power of two near what keeps the spread of a layer's values.
        inputs = max(1, value[0].numel())
        step = 2.0 ** -(6 + int(inputs).bit_length() // 2)
        state[key] = torch.from_numpy((raw.astype(np.float64) - 128.0) * step).float().reshape(value.shape)
    return {**state, **_distribution(state), **_spread(state)}


def _distribution(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Quantiles in order, so that medians lie between them, and terms of GDN that divide by something."""
    changed = {}
    for key, value in state.items():
        if key == "entropy_bottleneck.quantiles":
            changed[key] = value / 8.0 + torch.tensor([-8.0, 0.0, 8.0])
        elif key.endswith(".beta"):
            changed[key] = value.abs() + 1.0
        elif key.endswith(".gamma"):
            changed[key] = value.abs() / 8.0
    return changed


def _spread(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A latent large enough to have symbols, and scales of many sizes for it."""
    last = next(
        key
        for key in ("entropy_parameters.4.bias", "h_s.8.bias", "h_s.4.bias", "entropy_bottleneck.quantiles")
        if key in state
    )
    first = "g_a.0.conv1.weight" if "g_a.0.conv1.weight" in state else "g_a.0.weight"
    changed = {first: state[first] * 16.0}
    if last.endswith("bias"):
        steps = torch.arange(len(state[last])) % 16
        changed[last] = state[last] + steps.float().square() / 8.0
    return changed
