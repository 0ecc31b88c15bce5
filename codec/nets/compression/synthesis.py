"""A codec's synthesis transform, made from its torch modules to run fast on a CPU and in little memory.

It computes what the modules say, to float32's precision, on (H, W, C) pictures; encoder and decoder both use it.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from codec.nets.compression import crew
from codec.nets.compression.transforms import (
    GDN,
    LEAKY_SLOPE,
    SHUFFLE,
    AttentionBlock,
    ResidualBlock,
    ResidualBlockUpsample,
    ResidualUnit,
)
from codec.nets.compression.winograd import Convolution, shuffled_weights

Step = Callable[[Tensor], Tensor]

_POSITIONS_AT_ONCE = 2048
"""Positions that are normalised together; with 128 channels they take 1 MB."""


_FEW_OUTPUTS = 12
"""Those of the last convolution, 3 colours of 4 sub-pixels: too few to pay for Winograd's transforms."""


def compile_synthesis(module: nn.Module) -> Step:
    """From (H, W, M) to (16 H, 16 W, 3), as the module does with a batch of one; channels last, contiguous.

    What comes out may change the picture that goes in.
    """
    if isinstance(module, nn.Sequential):
        return _chain(list(module))
    if isinstance(module, nn.ConvTranspose2d):
        return _convolution3x3(*shuffled_weights(module.weight, _bias(module)), SHUFFLE)
    if isinstance(module, nn.Conv2d):
        return _convolution(module)
    if isinstance(module, GDN):
        return _normalisation(module)
    if isinstance(module, nn.ReLU):
        return torch.relu_
    if isinstance(module, ResidualBlock):
        return _residual_block(module)
    if isinstance(module, ResidualBlockUpsample):
        return _residual_block_upsample(module)
    if isinstance(module, ResidualUnit):
        return _residual_unit(module)
    if isinstance(module, AttentionBlock):
        return _attention_block(module)
    raise TypeError(f"There is no fast form of {type(module).__name__}.")


def _chain(modules: list[nn.Module]) -> Step:
    steps: list[Step] = []
    for place, module in enumerate(modules):
        following = modules[place + 1] if place + 1 < len(modules) else None
        if isinstance(module, nn.Conv2d) and isinstance(following, nn.PixelShuffle):
            steps.append(_convolution3x3(module.weight, _bias(module), SHUFFLE))
        elif not isinstance(module, nn.PixelShuffle):
            steps.append(compile_synthesis(module))

    def run(x: Tensor) -> Tensor:
        for step in steps:
            x = step(x)
        return x

    return run


def _convolution(module: nn.Conv2d) -> Step:
    return _Pointwise(module) if module.kernel_size == (1, 1) else _convolution3x3(module.weight, _bias(module))


def _convolution3x3(weights: Tensor, bias: Tensor, shuffle: int = 1) -> Step:
    few = len(bias) <= _FEW_OUTPUTS
    return _NarrowConvolution(weights, bias, shuffle) if few else Convolution(weights, bias, shuffle=shuffle)


class _Pointwise:
    """A 1x1 convolution, with what follows it done while a piece is at hand."""

    def __init__(self, module: nn.Module) -> None:
        assert isinstance(module, nn.Conv2d), "only convolutions are pointwise"
        self._matrix, self._bias = module.weight[:, :, 0, 0].T.contiguous(), _bias(module)

    def __call__(self, x: Tensor, *, is_rectified: bool = False, plus: Tensor | None = None) -> Tensor:
        """(H, W, I) to (H, W, O), with `plus` added before what is negative is made 0."""
        inputs = x.flatten(0, 1)
        result = x.new_empty(*x.shape[:2], len(self._bias))
        outputs, added = result.flatten(0, 1), None if plus is None else plus.flatten(0, 1)

        def multiply(start: int) -> None:
            piece = slice(start, start + _POSITIONS_AT_ONCE)
            torch.addmm(self._bias, inputs[piece], self._matrix, out=outputs[piece])
            if added is not None:
                outputs[piece].add_(added[piece])
            if is_rectified:
                outputs[piece].relu_()

        crew.in_pieces(multiply, range(0, len(inputs), _POSITIONS_AT_ONCE))
        return result


class _NarrowConvolution:
    """A 3x3 convolution with few outputs: one product for all nine neighbours, whose parts are added up shifted."""

    def __init__(self, weights: Tensor, bias: Tensor, shuffle: int) -> None:
        self._bias, self._shuffle = bias, shuffle
        # (O, I, 3, 3) to (I, 9 * O)
        self._matrix = weights.permute(1, 2, 3, 0).flatten(1).contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        """(H, W, I) to (H * shuffle, W * shuffle, O / shuffle**2)."""
        height, width, inputs = x.shape
        total, factor = len(self._bias), self._shuffle
        result = x.new_empty(height, factor, width, factor, total // factor**2)
        at_once = max(1, _POSITIONS_AT_ONCE // width)

        def convolve(top: int) -> None:
            bottom = min(height, top + at_once)
            first, last = max(0, top - 1), min(height, bottom + 1)
            products = torch.mm(x[first:last].view(-1, inputs), self._matrix).view(last - first, width, 3, 3, total)
            sums = self._bias.repeat(bottom - top, width, 1)
            for down in range(3):
                # Row r of the strip gets row r + down - 1 of the picture where there is one.
                start, end = max(0, first - (top + down - 1)), min(bottom, last - down + 1) - top
                for right in range(3):
                    left, until = max(0, 1 - right), min(width, width + 1 - right)
                    part = products[start + top + down - 1 - first : end + top + down - 1 - first, :, down, right]
                    sums[start:end, left:until] += part[:, left + right - 1 : until + right - 1]
            result[top:bottom] = sums.view(bottom - top, width, -1, factor, factor).permute(0, 3, 1, 4, 2)

        crew.in_pieces(convolve, range(0, height, at_once))
        return result.view(height * factor, width * factor, -1)


def _normalisation(module: GDN) -> Step:
    beta, gamma = module.terms()
    gamma, inverse = gamma.T.contiguous(), module.inverse

    def run(x: Tensor) -> Tensor:
        values = x.flatten(0, 1)

        def normalise(start: int) -> None:
            piece = values[start : start + _POSITIONS_AT_ONCE]
            norm = torch.addmm(beta, piece * piece, gamma)
            piece.mul_(norm.sqrt_() if inverse else norm.rsqrt_())

        # In place and piece by piece, so that nothing else of the picture's size is made.
        crew.in_pieces(normalise, range(0, len(values), _POSITIONS_AT_ONCE))
        return x

    return run


def _residual_block(module: ResidualBlock) -> Step:
    first, second = _wide(module.conv1), _wide(module.conv2)
    return lambda x: second(first(x, slope=LEAKY_SLOPE), slope=LEAKY_SLOPE, onto=x)


def _residual_block_upsample(module: ResidualBlockUpsample) -> Step:
    enlarge, beside = _wide(module.subpel_conv[0], SHUFFLE), _wide(module.upsample[0], SHUFFLE)
    convolve, normalise = _wide(module.conv), _normalisation(module.igdn)
    return lambda x: beside(x, onto=normalise(convolve(enlarge(x, slope=LEAKY_SLOPE))))


def _residual_unit(module: ResidualUnit) -> Step:
    narrow, _, convolve, _, widen = module.conv
    first, second, third = _Pointwise(narrow), _wide(convolve), _Pointwise(widen)
    return lambda x: third(second(first(x, is_rectified=True), slope=0.0), is_rectified=True, plus=x)


def _wide(module: nn.Module, shuffle: int = 1) -> Convolution:
    assert isinstance(module, nn.Conv2d), "the blocks are made of convolutions"
    return Convolution(module.weight, _bias(module), shuffle=shuffle)


def _attention_block(module: AttentionBlock) -> Step:
    trunk, mask = compile_synthesis(module.conv_a), compile_synthesis(module.conv_b)
    return lambda x: mask(x).sigmoid_().mul_(trunk(x)).add_(x)


def _bias(module: nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    assert module.bias is not None, "all of these convolutions have one"
    return module.bias
