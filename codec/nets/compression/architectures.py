"""The architectures that can be loaded by name: CompressAI's single-image codecs, made from a checkpoint's shapes.

Each comes as two transforms for torch and an entropy model in exact arithmetic. Their drawings are in the papers that
give them their names: arXiv 1802.01436 (bmshj2018), 1809.02736 (mbt2018), 2001.01568 (cheng2020).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from codec.errors import FeatureUnavailable, WeightsCorrupt
from codec.nets.compression.checkpoint_layouts import State
from codec.nets.compression.fixed_point import (
    LEAKY_SLOPE,
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
from codec.nets.compression.synthesis import Step, compile_synthesis
from codec.nets.compression.tables import learned_tables
from codec.nets.compression.transforms import (
    GDN,
    AttentionBlock,
    ResidualBlock,
    ResidualBlockUpsample,
    ResidualBlockWithStride,
    conv3x3,
    conv5x5,
    deconv5x5,
    subpixel_conv3x3,
)
from codec.nets.compression.wavefront import REACH, TAPS, ContextModel

_MOST_CHANNELS = 1024
"""Wider networks than any published one are refused before anything is built."""


@dataclass(frozen=True)
class Codec:
    """A learned codec's parts. `width`: the transforms' channels. The reaches: how many latent positions away an input
    of the analysis or the synthesis still counts."""

    analysis: nn.Module
    synthesis: Step
    hyper_analysis: nn.Module | None
    takes_magnitudes: bool
    coder: LatentCoder
    width: int
    analysis_reach: int
    synthesis_reach: int


@dataclass(frozen=True)
class _Layer:
    """A layer of the hyperprior's synthesis: its key, its kind and the slope of what follows it."""

    key: str
    slope: float
    kind: Callable[..., ExactConvolution] = exact_convolution
    shuffle: int = 1


@dataclass(frozen=True)
class _Architecture:
    transforms: Callable[[int, int], tuple[nn.Module, nn.Module]]
    widths: tuple[str, str]
    reaches: tuple[int, int]
    hyper_analysis: Callable[[int, int], nn.Module] | None = None
    hyper_synthesis: tuple[_Layer, ...] = ()
    has_means: bool = True
    has_context: bool = False


def build_codec(name: str, state: State) -> Codec:
    """The codec `name` with the weights of `state`, N and M taken from their shapes.

    Raises FeatureUnavailable for a name that is not known here, WeightsCorrupt where the weights are another
    architecture's, incomplete or not finite.
    """
    name = name.replace("_", "-")
    if name not in _ARCHITECTURES:
        raise FeatureUnavailable(
            f"There is no learned codec {name!r} here; those that are: {', '.join(sorted(_ARCHITECTURES))}."
        )
    architecture = _ARCHITECTURES[name]
    _refuse_other_parts(name, architecture, state)
    for key, value in state.items():
        if not value.is_floating_point() or not value.isfinite().all():
            raise WeightsCorrupt(f"The weights {key} are not finite numbers.")
    width, depth = (_outputs(name, state, key) for key in architecture.widths)
    analysis, synthesis = architecture.transforms(width, depth)
    hyper_analysis = architecture.hyper_analysis(width, depth) if architecture.hyper_analysis else None
    _fill(name, analysis, state, "g_a.")
    _fill(name, synthesis, state, "g_s.")
    if hyper_analysis is not None:
        _fill(name, hyper_analysis, state, "h_a.")
    hyper = _factorized(name, state, width if hyper_analysis else depth)
    coder: LatentCoder = hyper
    if hyper_analysis is not None:
        outputs = 2 * depth if architecture.has_means else depth
        layers = _hyper_synthesis(name, architecture.hyper_synthesis, state, width, outputs)
        context = _context(name, state, depth) if architecture.has_context else None
        coder = HyperpriorCoder(hyper, layers, architecture.has_means, context)
    return Codec(
        analysis=analysis,
        synthesis=compile_synthesis(synthesis),
        hyper_analysis=hyper_analysis,
        takes_magnitudes=not architecture.has_means,
        coder=coder,
        width=width,
        analysis_reach=architecture.reaches[0],
        synthesis_reach=architecture.reaches[1],
    )


def _refuse_other_parts(name: str, architecture: _Architecture, state: State) -> None:
    """A checkpoint with parts that the architecture lacks is another one's, even where all that is needed fits."""
    expected = {"g_a", "g_s", "entropy_bottleneck"}
    if architecture.hyper_analysis is not None:
        expected |= {"h_a", "h_s"}
    if architecture.has_context:
        expected |= {"context_prediction", "entropy_parameters"}
    found = {key.partition(".")[0] for key in state}
    if found != expected:
        differing = ", ".join(sorted(found ^ expected))
        raise WeightsCorrupt(f"The weights are no {name}: they differ from it in having or lacking {differing}.")


def _outputs(name: str, state: State, key: str) -> int:
    if key not in state or state[key].ndim != 4 or not 2 <= len(state[key]) <= _MOST_CHANNELS:
        raise WeightsCorrupt(f"The weights are no {name}: {key} is missing or has an impossible shape.")
    return len(state[key])


def _fill(name: str, module: nn.Module, state: State, prefix: str) -> None:
    part = {key.removeprefix(prefix): value.float() for key, value in state.items() if key.startswith(prefix)}
    try:
        module.load_state_dict(part)
    except RuntimeError as error:
        reason = str(error).partition("\n")[2].strip().partition("\n")[0]
        raise WeightsCorrupt(f"The weights are no {name}: in {prefix[:-1]}, {reason}") from None
    # Channels-first whatever the file had: only then are equal weights computed with in equal order.
    module.requires_grad_(False).eval().to(memory_format=torch.contiguous_format)


def _array(name: str, state: State, key: str, *shape: int) -> Floats:
    """A weight as float64, -1 in `shape` standing for any size."""
    value = state.get(key)
    fits = value is not None and value.ndim == len(shape)
    if value is None or not fits or any(want not in (-1, have) for want, have in zip(shape, value.shape, strict=True)):
        raise WeightsCorrupt(f"The weights are no {name}: {key} is missing or has another shape than {shape}.")
    return value.cpu().double().numpy()


def _factorized(name: str, state: State, channels: int) -> FactorizedCoder:
    widths = (1, 3, 3, 3, 3, 1)
    weights = {}
    for layer, (inputs, outputs) in enumerate(pairwise(widths)):
        weights[f"matrices.{layer}"] = _bottleneck(name, state, f"matrices.{layer}", channels, outputs, inputs)
        weights[f"biases.{layer}"] = _bottleneck(name, state, f"biases.{layer}", channels, outputs, 1)
        if layer < len(widths) - 2:
            weights[f"factors.{layer}"] = _bottleneck(name, state, f"factors.{layer}", channels, outputs, 1)
    medians = _bottleneck(name, state, "quantiles", channels, 1, 3)[:, 0, 1]
    in_units = np.clip(np.rint(medians * UNIT), -LIMIT, LIMIT)
    return FactorizedCoder(learned_tables(weights, in_units / UNIT), in_units.astype(np.int32))


def _bottleneck(name: str, state: State, key: str, *shape: int) -> Floats:
    return _array(name, state, f"entropy_bottleneck.{key}", *shape)


def _hyper_synthesis(
    name: str, layers: Sequence[_Layer], state: State, inputs: int, outputs: int
) -> tuple[ExactConvolution, ...]:
    built = []
    for place, layer in enumerate(layers):
        weights = _array(name, state, f"h_s.{layer.key}.weight", -1, -1, -1, -1)
        is_transposed = layer.kind is exact_transposed_convolution
        have, made = weights.shape[:2] if is_transposed else (weights.shape[1], weights.shape[0])
        edge = 5 if is_transposed else 3
        wanted = outputs if place == len(layers) - 1 else made
        if have != inputs or made != wanted or weights.shape[2:] != (edge, edge) or made % layer.shuffle**2:
            raise WeightsCorrupt(f"The weights are no {name}: h_s.{layer.key} has the shape {weights.shape}.")
        bias = _array(name, state, f"h_s.{layer.key}.bias", made)
        options = {"shuffle": layer.shuffle} if layer.shuffle > 1 else {}
        built.append(layer.kind(weights, bias, slope=layer.slope, **options))
        inputs = made // layer.shuffle**2
    return tuple(built)


def _context(name: str, state: State, depth: int) -> ContextModel:
    masked = _array(name, state, "context_prediction.weight", 2 * depth, depth, 2 * REACH + 1, 2 * REACH + 1)
    taps = np.stack([masked[:, :, down + REACH, right + REACH] for down, right in TAPS], axis=1)
    taps = taps.reshape(2 * depth, -1)
    taps_bias = _array(name, state, "context_prediction.bias", 2 * depth)
    weights, bias = _parameters_layer(name, state, 0, 4 * depth, -1)
    from_hyper, from_context = weights[:, : 2 * depth], weights[:, 2 * depth :]
    first = exact_linear(
        np.concatenate([from_hyper, exact_composition(from_context, taps)], axis=1),
        bias + exact_composition(from_context, taps_bias[:, None])[:, 0],
        LEAKY_SLOPE,
    )
    second = exact_linear(*_parameters_layer(name, state, 2, len(weights), -1), LEAKY_SLOPE)
    third = exact_linear(*_parameters_layer(name, state, 4, len(second.bias), 2 * depth))
    return ContextModel(first, (second, third))


def _parameters_layer(name: str, state: State, place: int, inputs: int, outputs: int) -> tuple[Floats, Floats]:
    weights = _array(name, state, f"entropy_parameters.{place}.weight", outputs, inputs, 1, 1)[:, :, 0, 0]
    return weights, _array(name, state, f"entropy_parameters.{place}.bias", len(weights))


def _balle_transforms(width: int, depth: int, *, with_relu: bool = False) -> tuple[nn.Module, nn.Module]:
    def between(*, inverse: bool) -> nn.Module:
        return nn.ReLU(inplace=True) if with_relu else GDN(width, inverse=inverse)

    analysis: list[nn.Module] = []
    synthesis: list[nn.Module] = []
    for inputs in (3, width, width):
        analysis += [conv5x5(inputs, width), between(inverse=False)]
    for inputs in (depth, width, width):
        synthesis += [deconv5x5(inputs, width), between(inverse=True)]
    return (
        nn.Sequential(*analysis, conv5x5(width, depth)),
        nn.Sequential(*synthesis, deconv5x5(width, 3)),
    )


def _cheng_transforms(width: int, _: int, *, with_attention: bool) -> tuple[nn.Module, nn.Module]:
    attention: Callable[[], list[nn.Module]] = lambda: [AttentionBlock(width)] if with_attention else []  # noqa: E731
    analysis = [
        ResidualBlockWithStride(3, width),
        ResidualBlock(width),
        ResidualBlockWithStride(width, width),
        *attention(),
        ResidualBlock(width),
        ResidualBlockWithStride(width, width),
        ResidualBlock(width),
        conv3x3(width, width, stride=2),
        *attention(),
    ]
    synthesis = [
        *attention(),
        ResidualBlock(width),
        ResidualBlockUpsample(width),
        ResidualBlock(width),
        ResidualBlockUpsample(width),
        *attention(),
        ResidualBlock(width),
        ResidualBlockUpsample(width),
        ResidualBlock(width),
        subpixel_conv3x3(width, 3),
    ]
    return nn.Sequential(*analysis), nn.Sequential(*synthesis)


def _balle_hyper_analysis(width: int, depth: int, *, leaky: bool) -> nn.Module:
    first = nn.Conv2d(depth, width, 3, padding=1)
    return _alternating([first, conv5x5(width, width), conv5x5(width, width)], leaky=leaky)


def _cheng_hyper_analysis(width: int, _: int) -> nn.Module:
    strides = (1, 1, 2, 1, 2)
    return _alternating([conv3x3(width, width, stride=stride) for stride in strides], leaky=True)


def _alternating(convolutions: Sequence[nn.Module], *, leaky: bool) -> nn.Module:
    layers: list[nn.Module] = []
    for convolution in convolutions:
        layers += [convolution, nn.LeakyReLU(LEAKY_SLOPE, inplace=True) if leaky else nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])


def _balle_hyper_synthesis(slope: float, last_slope: float) -> tuple[_Layer, ...]:
    return (
        _Layer("0", slope, exact_transposed_convolution),
        _Layer("2", slope, exact_transposed_convolution),
        _Layer("4", last_slope),
    )


_CHENG_HYPER_SYNTHESIS = (
    _Layer("0", LEAKY_SLOPE),
    _Layer("2.0", LEAKY_SLOPE, shuffle=2),
    _Layer("4", LEAKY_SLOPE),
    _Layer("6.0", LEAKY_SLOPE, shuffle=2),
    _Layer("8", 1.0),
)

_BALLE_WIDTHS = ("g_a.0.weight", "g_a.6.weight")
_CHENG_WIDTHS = ("g_a.0.conv1.weight", "g_a.0.conv1.weight")

_BALLE_REACHES = 2, 2
"""1 + 1/2 + 1/4 + 1/8 positions: one tap of a 5x5 kernel to either side at each of four sizes."""


def _cheng(*, with_attention: bool, reaches: tuple[int, int]) -> _Architecture:
    return _Architecture(
        transforms=lambda width, depth: _cheng_transforms(width, depth, with_attention=with_attention),
        widths=_CHENG_WIDTHS,
        reaches=reaches,
        hyper_analysis=_cheng_hyper_analysis,
        hyper_synthesis=_CHENG_HYPER_SYNTHESIS,
        has_context=True,
    )


def _mbt(*, has_context: bool) -> _Architecture:
    return _Architecture(
        transforms=_balle_transforms,
        widths=_BALLE_WIDTHS,
        reaches=_BALLE_REACHES,
        hyper_analysis=lambda width, depth: _balle_hyper_analysis(width, depth, leaky=True),
        hyper_synthesis=_balle_hyper_synthesis(LEAKY_SLOPE, 1.0),
        has_context=has_context,
    )


_ARCHITECTURES = {
    "bmshj2018-factorized": _Architecture(_balle_transforms, _BALLE_WIDTHS, _BALLE_REACHES),
    "bmshj2018-factorized-relu": _Architecture(
        lambda width, depth: _balle_transforms(width, depth, with_relu=True), _BALLE_WIDTHS, _BALLE_REACHES
    ),
    "bmshj2018-hyperprior": _Architecture(
        transforms=_balle_transforms,
        widths=_BALLE_WIDTHS,
        reaches=_BALLE_REACHES,
        hyper_analysis=lambda width, depth: _balle_hyper_analysis(width, depth, leaky=False),
        hyper_synthesis=_balle_hyper_synthesis(0.0, 0.0),
        has_means=False,
    ),
    "mbt2018-mean": _mbt(has_context=False),
    "mbt2018": _mbt(has_context=True),
    "cheng2020-anchor": _cheng(with_attention=False, reaches=(4, 7)),
    "cheng2020-attn": _cheng(with_attention=True, reaches=(8, 11)),
}
