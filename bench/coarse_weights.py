"""Weights for learned codecs that exercise an entropy coder, where no trained ones are at hand.

Random ones leave almost every symbol zero. These are scaled, channel by channel, until the symbols of a picture are
spread over the probability tables as a trained codec's are. Save them and load the file again wherever results are
compared: seeded initialisation differs between instruction sets.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from compressai.models import CompressionModel
from compressai.zoo.image import model_architectures
from PIL import Image
from torch import Tensor

_LEAST_SPREAD, _GREATEST_SPREAD = 0.08, 40.0
"""Standard deviations of the channels of a latent: from almost always zero to rarely zero."""

_HYPER_SPREAD = 3.0

LEAST_NON_ZERO, LEAST_TABLES = 0.30, 32
"""What weights must reach to count: the share of symbols that are not zero, and of the 64 tables those in use."""


@dataclass(frozen=True)
class Coverage:
    """How much of a coder a picture exercises."""

    non_zero: float
    tables: int


def make_model(architecture: str, width: int, depth: int, *, picture: Image.Image, seed: int = 1) -> CompressionModel:
    """CompressAI's own model of an architecture name, with scaled random weights and its tables updated.

    Raises ValueError when the weights miss what they are for.
    """
    torch.manual_seed(seed)
    build = model_architectures[architecture]
    model = build(width) if architecture.startswith("cheng") else build(width, depth)
    model.eval().requires_grad_(False)
    samples = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)[None].float() / 255.0
    height, columns = samples.shape[2] // 64 * 64, samples.shape[3] // 64 * 64
    with torch.no_grad():
        _scale(model, samples[:, :, :height, :columns])
        model.update(force=True)
        found = coverage(model, samples[:, :, :height, :columns])
    if found.non_zero < LEAST_NON_ZERO or (found.tables < LEAST_TABLES and hasattr(model, "gaussian_conditional")):
        raise ValueError(f"The weights reach only {found.non_zero:.0%} non-zero symbols and {found.tables} tables.")
    return model


def coverage(model: CompressionModel, samples: Tensor) -> Coverage:
    """What the (1, 3, H, W) picture's own latent exercises; sides are multiples of 64."""
    latent = model.g_a(samples)
    if not hasattr(model, "gaussian_conditional"):
        medians = model.entropy_bottleneck.quantiles[:, 0, 1][None, :, None, None]
        return Coverage(float((torch.round(latent - medians) != 0).float().mean()), 0)
    scales, means = _parameters(model, latent, _hyper(model, latent))
    tables = model.gaussian_conditional.build_indexes(scales).unique()
    return Coverage(float((torch.round(latent - means) != 0).float().mean()), len(tables))


def _scale(model: CompressionModel, samples: Tensor) -> None:
    last = model.g_a[6] if hasattr(model.g_a[6], "weight") else model.g_a[7]
    channels = last.weight.shape[0]
    spread = torch.logspace(math.log10(_LEAST_SPREAD), math.log10(_GREATEST_SPREAD), channels)
    _rescale(last, spread / _deviation(model.g_a(samples)))
    if len(model.g_a) == 9:
        # The attention block after the last convolution would spread the widest channels over all others.
        _rescale(model.g_a[8].conv_a[2].conv[4], 0.01 * spread)
    latent = model.g_a(samples)
    bottleneck = model.entropy_bottleneck
    bottleneck.quantiles[:, 0, 1].uniform_(-0.5, 0.5)
    for factor in bottleneck.factors:
        factor.uniform_(-0.3, 0.3)
    if not hasattr(model, "gaussian_conditional"):
        return
    final = model.h_a[-1]
    magnitudes = latent.abs() if type(model).__name__ == "ScaleHyperprior" else latent
    _rescale(final, _HYPER_SPREAD / _deviation(model.h_a(magnitudes)))
    _match_parameters(model, latent, spread)


def _match_parameters(model: CompressionModel, latent: Tensor, spread: Tensor) -> None:
    """Give the last layer that says scales (and means) the spread of the latent's channels, varying with the place."""
    layers = model.entropy_parameters if hasattr(model, "entropy_parameters") else model.h_s
    last = next(layer for layer in reversed(layers) if hasattr(layer, "weight"))
    channels = len(spread)
    hyper = _hyper(model, latent)
    outputs = torch.cat([part for part in _parameters(model, latent, hyper) if part.shape == latent.shape], dim=1)
    # An eighth of the scale comes and goes with the place, and means wander by a quarter of it: enough to exercise
    # everything, and not so much that few symbols keep to their tables.
    share = torch.cat([spread / 8.0, spread / 4.0])[: last.weight.shape[0]]
    _rescale(last, share / _deviation(outputs)[: len(share)])
    centre = latent.mean(dim=(0, 2, 3))
    has_means = len(last.bias) > channels
    last.bias[:channels] = _deviation(latent) if has_means else (_deviation(latent) ** 2 + centre**2).sqrt()
    last.bias[channels:] = centre if has_means else 0.0


def _hyper(model: CompressionModel, latent: Tensor) -> Tensor:
    inputs = latent.abs() if type(model).__name__ == "ScaleHyperprior" else latent
    medians = model.entropy_bottleneck.quantiles[:, 0, 1][None, :, None, None]
    rounded: Tensor = torch.round(model.h_a(inputs) - medians) + medians
    return rounded


def _parameters(model: CompressionModel, latent: Tensor, hyper: Tensor) -> tuple[Tensor, Tensor]:
    values = model.h_s(hyper)
    if hasattr(model, "entropy_parameters"):
        context = model.context_prediction(torch.round(latent))
        values = model.entropy_parameters(torch.cat((values, context), dim=1))
    if values.shape[1] == latent.shape[1]:
        return values, torch.zeros(1)
    scales, means = values.chunk(2, 1)
    return scales, means


def _deviation(values: Tensor) -> Tensor:
    return values.std(dim=(0, 2, 3)).clamp(min=1e-6)


def _rescale(layer: torch.nn.Conv2d, factor: Tensor | float) -> None:
    factor = torch.as_tensor(factor).reshape(-1)
    layer.weight.mul_(factor[:, None, None, None])
    if layer.bias is not None:
        layer.bias.mul_(factor)
