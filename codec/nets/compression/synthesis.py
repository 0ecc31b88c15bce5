"""A codec's synthesis transform, made from its torch modules to run fast on a CPU and in little memory.

It computes what the modules say, to float32's precision, on (H, W, C) pictures; encoder and decoder both use it.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from codec.nets.compression import crew, winograd
from codec.nets.compression.transforms import (
    GDN,
    LEAKY_SLOPE,
    SHUFFLE,
    AttentionBlock,
    ResidualBlock,
    ResidualBlockUpsample,
    ResidualUnit,
)

Step = Callable[[Tensor], Tensor]

_POSITIONS_AT_ONCE = 2048
"""Positions that are normalised together; with 128 channels they take 1 MB."""


def compile_synthesis(module: nn.Module) -> Step:
    """From (H, W, M) to (16 H, 16 W, 3), as the module does with a batch of one; channels last, contiguous."""
    if isinstance(module, nn.Sequential):
        return _chain(list(module))
    if isinstance(module, nn.ConvTranspose2d):
        return winograd.from_transposed(module.weight, _bias(module))
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
            steps.append(_convolution(module, shuffle=SHUFFLE))
        elif not isinstance(module, nn.PixelShuffle):
            steps.append(compile_synthesis(module))

    def run(x: Tensor) -> Tensor:
        for step in steps:
            x = step(x)
        return x

    return run


def _convolution(module: nn.Conv2d, *, shuffle: int = 1) -> Step:
    if module.kernel_size == (3, 3):
        return _convolution3x3(module, shuffle=shuffle)
    matrix, bias = module.weight[:, :, 0, 0].T.contiguous(), _bias(module)

    def run(x: Tensor) -> Tensor:
        inputs = x.flatten(0, 1)
        result = x.new_empty(len(inputs), len(bias))

        def multiply(start: int) -> None:
            piece = slice(start, start + _POSITIONS_AT_ONCE)
            torch.addmm(bias, inputs[piece], matrix, out=result[piece])

        crew.in_pieces(multiply, range(0, len(inputs), _POSITIONS_AT_ONCE))
        return result.view(*x.shape[:2], -1)

    return run


def _convolution3x3(module: nn.Conv2d, *, shuffle: int = 1) -> winograd.Convolution:
    return winograd.Convolution(module.weight, _bias(module), shuffle=shuffle)


def _shuffled(module: nn.Sequential) -> winograd.Convolution:
    convolution = module[0]
    assert isinstance(convolution, nn.Conv2d), "a sub-pixel convolution begins with one"
    return _convolution3x3(convolution, shuffle=SHUFFLE)


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
    first, second = _convolution3x3(module.conv1), _convolution3x3(module.conv2)
    return lambda x: second(first(x, slope=LEAKY_SLOPE), slope=LEAKY_SLOPE, added=x)


def _residual_block_upsample(module: ResidualBlockUpsample) -> Step:
    enlarge, beside = _shuffled(module.subpel_conv), _shuffled(module.upsample)
    convolve, normalise = _convolution3x3(module.conv), _normalisation(module.igdn)
    return lambda x: beside(x, added=normalise(convolve(enlarge(x, slope=LEAKY_SLOPE))))


def _residual_unit(module: ResidualUnit) -> Step:
    inner = compile_synthesis(module.conv)
    return lambda x: inner(x).add_(x).relu_()


def _attention_block(module: AttentionBlock) -> Step:
    trunk, mask = compile_synthesis(module.conv_a), compile_synthesis(module.conv_b)
    return lambda x: mask(x).sigmoid_().mul_(trunk(x)).add_(x)


def _bias(module: nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    assert module.bias is not None, "all of these convolutions have one"
    return module.bias
