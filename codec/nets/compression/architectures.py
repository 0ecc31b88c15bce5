"""The learned codecs that can be loaded by name: CompressAI's models, and their entropy models in exact arithmetic.

The transforms are the models' own modules. Whatever chooses a probability table or a mean is made of the same weights
in whole numbers (fixed_point). Drawings: arXiv 1802.01436 (bmshj2018), 1809.02736 (mbt2018), 2001.01568 (cheng2020).
"""

from dataclasses import dataclass

import numpy as np
import torch
from compressai.models import CompressionModel
from compressai.zoo.image import model_architectures
from torch import Tensor, nn

from codec.errors import FeatureUnavailable, WeightsCorrupt
from codec.nets.compression.checkpoint_layouts import State
from codec.nets.compression.fixed_point import (
    LIMIT,
    UNIT,
    ExactConvolution,
    Floats,
    exact_composition,
    exact_convolution,
    exact_linear,
    exact_transposed_convolution,
)
from codec.nets.compression.latents import FactorizedCoder, HyperpriorCoder, LatentCoder
from codec.nets.compression.tables import learned_tables
from codec.nets.compression.wavefront import REACH, TAPS, ContextModel

_MOST_CHANNELS = 1024
"""Wider networks than any published one are refused before anything is built."""

REACHES = {
    "bmshj2018-factorized": (2, 2),
    "bmshj2018-factorized-relu": (2, 2),
    "bmshj2018-hyperprior": (2, 2),
    "mbt2018-mean": (2, 2),
    "mbt2018": (2, 2),
    "cheng2020-anchor": (4, 7),
    "cheng2020-attn": (8, 11),
}
"""How many latent positions away an input of the analysis and of the synthesis still counts. 2 is 1 + 1/2 + 1/4 + 1/8:
one tap of a 5x5 kernel to either side at each of four sizes."""

_MODELS = {name.replace("_", "-"): model for name, model in model_architectures.items()}


@dataclass(frozen=True)
class Codec:
    """A learned codec's parts. `width`: the transforms' channels. The reaches: how many latent positions away an input
    of the analysis or the synthesis still counts."""

    analysis: nn.Module
    synthesis: nn.Module
    hyper_analysis: nn.Module | None
    takes_magnitudes: bool
    coder: LatentCoder
    width: int
    analysis_reach: int
    synthesis_reach: int


def build_codec(name: str, state: State) -> Codec:
    """The codec `name` with the weights of `state`, N and M taken from their shapes.

    Raises FeatureUnavailable for a name that is not known here, WeightsCorrupt where the weights are another
    architecture's, incomplete or not finite.
    """
    name = name.replace("_", "-")
    if name not in REACHES:
        raise FeatureUnavailable(
            f"There is no learned codec {name!r} here; those that are: {', '.join(sorted(REACHES))}."
        )
    for key, value in state.items():
        if not value.is_floating_point() or not value.isfinite().all():
            raise WeightsCorrupt(f"The weights {key} are not finite numbers.")
    model, width = _filled_model(name, state)
    has_means = name != "bmshj2018-hyperprior"
    hyper_analysis = getattr(model, "h_a", None)
    coder: LatentCoder = _factorized(model)
    if hyper_analysis is not None:
        assert isinstance(coder, FactorizedCoder)
        context = _context(model) if hasattr(model, "context_prediction") else None
        coder = HyperpriorCoder(coder, exact_layers(model.h_s), has_means, context)
    return Codec(
        analysis=model.g_a.float(),
        synthesis=model.g_s.float(),
        hyper_analysis=None if hyper_analysis is None else hyper_analysis.float(),
        takes_magnitudes=not has_means,
        coder=coder,
        width=width,
        analysis_reach=REACHES[name][0],
        synthesis_reach=REACHES[name][1],
    )


def exact_layers(synthesis: nn.Module) -> tuple[ExactConvolution, ...]:
    """A hyperprior's synthesis, convolutions with shuffles and (leaky) ReLUs between them, in exact arithmetic."""
    modules = [module for module in synthesis.modules() if not isinstance(module, nn.Sequential)]
    layers: list[ExactConvolution] = []
    for place, module in enumerate(modules):
        if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            continue
        slope, shuffle = 1.0, 1
        for following in modules[place + 1 : place + 3]:
            if isinstance(following, nn.Conv2d | nn.ConvTranspose2d):
                break
            if isinstance(following, nn.PixelShuffle):
                shuffle = following.upscale_factor
            else:
                slope = following.negative_slope if isinstance(following, nn.LeakyReLU) else 0.0
        weights, bias = _array(module.weight), _array(module.bias)
        if isinstance(module, nn.ConvTranspose2d):
            layers.append(exact_transposed_convolution(weights, bias, slope=slope))
        else:
            layers.append(exact_convolution(weights, bias, slope=slope, shuffle=shuffle))
    return tuple(layers)


def _filled_model(name: str, state: State) -> tuple[CompressionModel, int]:
    """CompressAI's model in float64, which holds the weights of every type exactly, and its N."""
    widths = ("g_a.0.conv1.weight",) if name.startswith("cheng") else ("g_a.0.weight", "g_a.6.weight")
    channels = [_outputs(name, state, key) for key in widths]
    # The first weights are random and overwritten; the process's own generator must not notice that.
    with torch.random.fork_rng(devices=[]):
        model = _MODELS[name](*channels).double()
    try:
        # CompressAI's own method wants probability tables in the file, which are made anew here.
        found = nn.Module.load_state_dict(model, state, strict=False)
    except RuntimeError as error:
        reason = str(error).partition("\n")[2].strip().partition("\n")[0]
        raise WeightsCorrupt(f"The weights are no {name}: {reason}") from None
    # Buffers follow from the parameters, so a file may lack them.
    missing = dict(model.named_parameters()).keys() & set(found.missing_keys)
    if differing := sorted({*missing, *found.unexpected_keys}):
        raise WeightsCorrupt(f"The weights are no {name}: they differ in having or lacking {', '.join(differing[:5])}.")
    # Channels-first whatever the file had: only then are equal weights computed with in equal order.
    return model.requires_grad_(False).eval().to(memory_format=torch.contiguous_format), channels[0]


def _outputs(name: str, state: State, key: str) -> int:
    if key not in state or state[key].ndim != 4 or not 2 <= len(state[key]) <= _MOST_CHANNELS:
        raise WeightsCorrupt(f"The weights are no {name}: {key} is missing or has an impossible shape.")
    return len(state[key])


def _factorized(model: CompressionModel) -> FactorizedCoder:
    bottleneck = model.entropy_bottleneck
    weights = {
        f"{kind}.{layer}": _array(value)
        for kind in ("matrices", "biases", "factors")
        for layer, value in enumerate(getattr(bottleneck, kind))
    }
    medians = _array(bottleneck.quantiles)[:, 0, 1]
    in_units = np.clip(np.rint(medians * UNIT), -LIMIT, LIMIT)
    return FactorizedCoder(learned_tables(weights, in_units / UNIT), in_units.astype(np.int32))


def _context(model: CompressionModel) -> ContextModel:
    masked = _array(model.context_prediction.weight)
    doubled = len(masked)
    taps = np.stack([masked[:, :, down + REACH, right + REACH] for down, right in TAPS], axis=1).reshape(doubled, -1)
    first, activation, rest = model.entropy_parameters[0], model.entropy_parameters[1], model.entropy_parameters[2:]
    weights, bias = _array(first.weight)[:, :, 0, 0], _array(first.bias)
    from_hyper, from_context = weights[:, :doubled], weights[:, doubled:]
    joined = exact_linear(
        np.concatenate([from_hyper, exact_composition(from_context, taps)], axis=1),
        bias + exact_composition(from_context, _array(model.context_prediction.bias)[:, None])[:, 0],
        activation.negative_slope,
    )
    return ContextModel(joined, tuple(layer.linear for layer in exact_layers(rest)))


def _array(value: Tensor | None) -> Floats:
    assert value is not None, "all of these convolutions have a bias"
    return value.detach().cpu().double().numpy()
