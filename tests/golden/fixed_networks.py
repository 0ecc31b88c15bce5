"""Tiny networks whose weights an integer hash makes from their names (tests/parity/weights.py): the same everywhere."""

import torch

from codec.decode.diffusion.diffbir import DiffBIRNetworks
from codec.nets.compression.network import LearnedCodec, load_network
from codec.nets.diffbir.config import DiffBIRConfig, SwinIRConfig, TextConfig, UNetConfig, VAEConfig
from codec.nets.diffbir.network import DiffBIR
from tests.parity.weights import hashed

CODEC_DIGEST = bytes.fromhex("6e657431")
"""What the golden streams of mode net name as their learned codec."""

_LAST_OF_CHENG = {"cheng2020-attn": 9, "cheng2020-anchor": 7}
_CONTRAST = {"mbt2018-mean": 1 / 16, "cheng2020-attn": 1 / 4096}

_CONFIG = DiffBIRConfig(
    UNetConfig(width=32, multipliers=(1, 1, 1, 1), layers=1, head_width=16, context_width=32),
    VAEConfig(width=32, multipliers=(1, 1, 1, 1), layers=1),
    TextConfig(width=32, heads=2, layers=2),
    SwinIRConfig(width=24, depths=(2,), heads=(2,)),
)


def fixed_restorer_networks(dtype: torch.dtype = torch.float32) -> DiffBIRNetworks:
    """DiffBIR at tiny widths, every parameter hashed from the name that it had when the pixels were fixed."""
    network = DiffBIR(_CONFIG).to(dtype)
    parameters = dict(network.named_parameters())
    with torch.no_grad():
        for name, parameter in parameters.items():
            first_name = f"swinir.{name.removeprefix('stage1.')}" if name.startswith("stage1.") else name
            parameter.copy_(torch.from_numpy(hashed(first_name, tuple(parameter.shape))))
    return DiffBIRNetworks(network.eval().requires_grad_(False))


def fixed_codec(architecture: str) -> LearnedCodec:
    """The learned codec of that architecture with 8 channels, every weight hashed from CompressAI's name for it."""
    from compressai.zoo.image import model_architectures

    build = model_architectures[architecture]
    model = build(8) if architecture.startswith("cheng") else build(8, 8)
    state = {}
    for key, value in model.state_dict().items():
        if not value.is_floating_point() or not value.numel() or "_reparam" in key or key.endswith("mask"):
            continue
        weights = torch.from_numpy(hashed(key, tuple(value.shape)))
        # What GDN divides by has to be positive, and scales have to differ for more than one table to be used.
        if key.endswith((".beta", ".gamma")):
            weights = weights.abs() + (1.0 if key.endswith(".beta") else 0.0)
        elif key in ("h_s.4.bias", "entropy_parameters.4.bias"):
            weights = weights + torch.arange(len(weights)).remainder(16).square() / 8.0
        state[key] = weights
    # Grey in the middle and little contrast, so that few pixels are cut to black or white.
    last = "g_s.6" if "g_s.6.weight" in state else f"g_s.{_LAST_OF_CHENG[architecture]}.0"
    state[f"{last}.weight"] = state[f"{last}.weight"] * _CONTRAST[architecture]
    state[f"{last}.bias"] = state[f"{last}.bias"] + 0.5
    return load_network(architecture, state, CODEC_DIGEST)
