"""The published implementations' figures, and the networks and inputs that they were taken from."""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from weights import hashed

from codec.nets.diffbir.config import DiffBIRConfig, SwinIRConfig, TextConfig, UNetConfig, VAEConfig

_SHIPPED = Path(__file__).parent / "data"

TOLERANCE = 1e-3
"""In standard deviations of the figure: how far float32 on a CPU may be from it."""


def figures(name: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """`name.json` and `name.npz` of the folder that MISC_PARITY_DIR names, or else of those shipped here."""
    chosen = Path(os.environ.get("MISC_PARITY_DIR", _SHIPPED))
    folder = chosen if (chosen / f"{name}.json").is_file() else _SHIPPED
    arrays = np.load(folder / f"{name}.npz") if (folder / f"{name}.npz").is_file() else {}
    return json.loads((folder / f"{name}.json").read_text()), dict(arrays)


def hashed_tensors(keys: dict[str, list[int]], prefix: str = "") -> dict[str, torch.Tensor]:
    """A checkpoint with these keys and shapes, `prefix` before each."""
    return {prefix + key: torch.from_numpy(hashed(prefix + key, tuple(shape))) for key, shape in keys.items()}


def tiny_config() -> DiffBIRConfig:
    """Our dimensions out of the original configurations of both files of figures."""
    about, _ = figures("diffbir")
    unet, vae, text = about["unet"], about["vae"]["ddconfig"], about["clip"]["text_cfg"]
    swinir = figures("swinir")[0]["config"]
    levels = range(len(unet["channel_mult"]))
    return DiffBIRConfig(
        UNetConfig(
            width=unet["model_channels"],
            multipliers=tuple(unet["channel_mult"]),
            layers=unet["num_res_blocks"],
            attention=tuple(2**level in unet["attention_resolutions"] for level in levels),
            head_width=unet["num_head_channels"],
            context_width=unet["context_dim"],
            latent_channels=unet["in_channels"],
        ),
        VAEConfig(
            width=vae["ch"],
            multipliers=tuple(vae["ch_mult"]),
            layers=vae["num_res_blocks"],
            latent_channels=vae["z_channels"],
            latent_scale=about["scale_factor"],
        ),
        TextConfig(
            width=text["width"],
            heads=text["heads"],
            layers=text["layers"],
            length=text["context_length"],
            vocabulary=text["vocab_size"],
        ),
        SwinIRConfig(
            width=swinir["embed_dim"],
            depths=tuple(swinir["depths"]),
            heads=tuple(swinir["num_heads"]),
            window=swinir["window_size"],
            hidden_ratio=swinir["mlp_ratio"],
            unshuffle=swinir["unshuffle_scale"],
        ),
    )


def tiny_checkpoint(*, with_cond_encoder: bool = True) -> dict[str, torch.Tensor]:
    """The single file at tiny widths; as published it encodes the condition by a copy of the autoencoder's half."""
    tensors = dict(_tiny_tensors())
    if with_cond_encoder:
        first = "first_stage_model."
        copied = (f"{first}encoder.", f"{first}quant_conv.")
        tensors |= {
            f"cond_encoder.{key[len(first) :]}": value for key, value in tensors.items() if key.startswith(copied)
        }
    return tensors


@cache
def _tiny_tensors() -> dict[str, torch.Tensor]:
    tensors = hashed_tensors(figures("diffbir")[0]["keys"])
    return tensors | hashed_tensors(figures("swinir")[0]["keys"], prefix="preprocess_model.")


def assert_agrees(ours: torch.Tensor, figure: NDArray[Any]) -> None:
    """Every value within TOLERANCE of the figure's own deviation."""
    values = ours.double().numpy()
    assert values.shape == figure.shape
    assert np.abs(values - figure).max() < TOLERANCE * figure.std()
