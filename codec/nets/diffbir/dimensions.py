"""Reads the dimensions of DiffBIR's networks off the shapes of their tensors, so that files of every width load alike.

What shapes do not tell (attention heads' width, the latents' scale) is that of Stable Diffusion.
"""

import math

from codec.errors import WeightsCorrupt
from codec.nets.diffbir.config import (
    BSRNetConfig,
    DiffBIRConfig,
    Prediction,
    SCUNetConfig,
    Stage1Config,
    SwinIRConfig,
    TextConfig,
    UNetConfig,
    VAEConfig,
)
from codec.nets.loading.key_rules import Tensors

_HEAD_WIDTH = 64
"""Channels of an attention head in Stable Diffusion 2 and in OpenCLIP's ViT-H."""

_UNET_HEADS, _TEXT_HEADS = 2, 4
"""Heads that networks have at least, so that those too narrow for heads of 64 channels still have several."""

_NORM_GROUPS = 32
"""Group norms have so many groups everywhere, so widths are multiples of it."""


def dimensions_of(
    base: Tensors,
    stage1: Tensors,
    origin: str,
    *,
    prediction: Prediction = Prediction.EPS,
    zero_terminal_snr: bool = False,
) -> DiffBIRConfig:
    """The configuration that tensors with these shapes are of.

    `base` has the keys of Stable Diffusion's single file, `stage1` those of a first stage by itself; the control
    network repeats the base's dimensions. Raises WeightsCorrupt, which names the key, for shapes of no such network.
    """
    shapes = _Shapes(base, origin)
    return DiffBIRConfig(
        _unet(shapes),
        _vae(shapes),
        _text(shapes),
        stage1_of(stage1, origin),
        prediction=prediction,
        zero_terminal_snr=zero_terminal_snr,
    )


def stage1_of(tensors: Tensors, origin: str) -> Stage1Config:
    """The configuration of a first stage, of the three architectures that were published the one that the keys are of.

    Raises WeightsCorrupt as `dimensions_of` does.
    """
    shapes = _Shapes(tensors, origin)
    if "RRDB_trunk.0.RDB1.conv1.weight" in shapes:
        growth, width, *_ = shapes.of("RRDB_trunk.0.RDB1.conv1.weight", 4)
        return BSRNetConfig(width, growth, shapes.count("RRDB_trunk.{}.RDB1.conv1.weight"))
    return _scunet(shapes) if "m_head.0.weight" in shapes else _swinir(shapes)


class _Shapes:
    def __init__(self, tensors: Tensors, origin: str) -> None:
        self._tensors, self._origin = tensors, origin

    def __contains__(self, key: str) -> bool:
        return key in self._tensors

    def of(self, key: str, dimensions: int) -> tuple[int, ...]:
        shape = tuple(self._tensors[key].shape) if key in self._tensors else ()
        self.demand(len(shape) == dimensions and 0 not in shape, f"{key} is missing or has the shape {shape}")
        return shape

    def count(self, key: str) -> int:
        """How many keys there are with 0, 1, 2 and so on in the place of `{}`."""
        return next(number for number in range(len(self._tensors) + 1) if key.format(number) not in self)

    def demand(self, holds: bool, fault: str) -> None:
        if not holds:
            raise WeightsCorrupt(f"{self._origin} is of no network that is known here: {fault}.")

    def quotient(self, whole: int, part: int, fault: str) -> int:
        self.demand(whole % part == 0, fault)
        return whole // part


def _unet(shapes: _Shapes) -> UNetConfig:
    first = "model.diffusion_model.input_blocks.{}.0."
    width, latent_channels, *_ = shapes.of(first.format(0) + "weight", 4)
    shapes.demand(width % _NORM_GROUPS == 0, f"the U-Net begins with {width} channels")
    levels: list[list[tuple[int, bool]]] = [[]]
    number = 1
    while True:
        block = first.format(number)
        if f"{block}op.weight" in shapes:
            levels.append([])
        elif f"{block}in_layers.2.weight" in shapes:
            attends = f"model.diffusion_model.input_blocks.{number}.1.norm.weight" in shapes
            levels[-1].append((shapes.of(f"{block}in_layers.2.weight", 4)[0], attends))
        else:
            break
        number += 1
    is_even = bool(levels[0]) and all(
        len(level) == len(levels[0]) and len(set(level)) == 1 and level[0][0] % width == 0 for level in levels
    )
    shapes.demand(is_even, "the blocks of the U-Net's levels differ")
    head_width = min(_HEAD_WIDTH, width // _UNET_HEADS)
    shapes.demand(width % head_width == 0, f"{width} channels are not made of heads of {head_width}")
    context = shapes.of("model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight", 2)[1]
    return UNetConfig(
        width=width,
        multipliers=tuple(level[0][0] // width for level in levels),
        layers=len(levels[0]),
        attention=tuple(level[0][1] for level in levels),
        head_width=head_width,
        context_width=context,
        latent_channels=latent_channels,
    )


def _vae(shapes: _Shapes) -> VAEConfig:
    first_blocks = "first_stage_model.decoder.up.{}.block.0.conv2.weight"
    levels = max(1, shapes.count(first_blocks))
    widths = [shapes.of(first_blocks.format(level), 4)[0] for level in range(levels)]
    fault = f"the autoencoder's levels have {widths} channels"
    shapes.demand(widths[0] % _NORM_GROUPS == 0, fault)
    # The second half has one block more at each level than the first.
    layers = shapes.count("first_stage_model.decoder.up.0.block.{}.conv2.weight") - 1
    shapes.demand(layers > 0, "the autoencoder's levels have one block")
    return VAEConfig(
        width=widths[0],
        multipliers=tuple(shapes.quotient(width, widths[0], fault) for width in widths),
        layers=layers,
        latent_channels=shapes.of("first_stage_model.post_quant_conv.weight", 4)[0],
    )


def _text(shapes: _Shapes) -> TextConfig:
    tower = "cond_stage_model.model."
    length, width = shapes.of(f"{tower}positional_embedding", 2)
    heads = max(_TEXT_HEADS, width // _HEAD_WIDTH)
    shapes.demand(width % heads == 0, f"the text encoder's {width} channels are not made of {heads} heads")
    layers = shapes.count(f"{tower}transformer.resblocks.{{}}.ln_1.weight")
    shapes.demand(layers >= 2, f"the text encoder has {layers} layers, and the last one is not used")
    return TextConfig(
        width=width,
        heads=heads,
        layers=layers,
        length=length,
        vocabulary=shapes.of(f"{tower}token_embedding.weight", 2)[0],
    )


def _scunet(shapes: _Shapes) -> SCUNetConfig:
    width = shapes.of("m_head.0.weight", 4)[0]
    places = [
        *(f"m_down{level}.{{}}.conv1_1.weight" for level in (1, 2, 3)),
        "m_body.{}.conv1_1.weight",
        *(f"m_up{level}.{{}}.conv1_1.weight" for level in (3, 2, 1)),
    ]
    # The levels up begin with the change of size, so that their blocks count from 1.
    depths = tuple(
        next(number for number in range(first, 100) if place.format(number) not in shapes) - first
        for place, first in zip(places, (0, 0, 0, 0, 1, 1, 1), strict=True)
    )
    shapes.demand(min(depths) > 0, f"the first stage's levels have {depths} blocks")
    heads, side, _ = shapes.of("m_down1.0.trans_block.msa.relative_position_params", 3)
    head_width = shapes.quotient(width // 2, heads, f"the first stage's {width} channels are not made of {heads} heads")
    return SCUNetConfig(width, depths, head_width, (side + 1) // 2)


def _swinir(shapes: _Shapes) -> SwinIRConfig:
    width, channels, *_ = shapes.of("conv_first.1.weight", 4)
    unshuffle = math.isqrt(channels // 3)
    is_power = unshuffle > 0 and unshuffle & (unshuffle - 1) == 0
    shapes.demand(3 * unshuffle**2 == channels and is_power, f"the first stage begins with {channels} channels")
    group = "layers.{}.residual_group.blocks."
    groups = shapes.count(f"{group}0.norm1.weight")
    tables = [
        shapes.of(f"{group.format(index)}0.attn.relative_position_bias_table", 2) for index in range(max(1, groups))
    ]
    window = (math.isqrt(tables[0][0]) + 1) // 2
    fits = all(rows == (2 * window - 1) ** 2 and width % heads == 0 for rows, heads in tables)
    shapes.demand(fits, f"the first stage's windows have tables of {tables}")
    return SwinIRConfig(
        width=width,
        depths=tuple(shapes.count(f"{group.format(index)}{{}}.norm1.weight") for index in range(groups)),
        heads=tuple(heads for _, heads in tables),
        window=window,
        hidden_ratio=shapes.of(f"{group.format(0)}0.mlp.fc1.weight", 2)[0] / width,
        unshuffle=unshuffle,
    )
