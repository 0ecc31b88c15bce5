"""Fast convolutions against PyTorch's own."""

import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from codec.nets.compression.synthesis import compile_synthesis
from codec.nets.compression.winograd import Convolution, shuffled_weights

SIZES = [(1, 1), (3, 5), (4, 8), (9, 41), (21, 6)]


def _picture(height: int, width: int, channels: int) -> Tensor:
    return torch.randn(height, width, channels, generator=torch.Generator().manual_seed(height * 100 + width))


def _weights(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)) / 10


def _plain(x: Tensor, weights: Tensor, bias: Tensor, shuffle: int) -> Tensor:
    first = x.double().permute(2, 0, 1)[None]
    found = functional.conv2d(first, weights.double(), bias.double(), padding=1)
    return functional.pixel_shuffle(found, shuffle)[0].permute(1, 2, 0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shuffle", [1, 2])
def test_winograd_agrees_with_the_plain_convolution(size: tuple[int, int], shuffle: int) -> None:
    x, weights, bias = _picture(*size, 20), _weights(24, 20, 3, 3), _weights(24)
    untouched = x.clone()
    plain = _plain(x, weights, bias, shuffle)

    convolution = Convolution(weights, bias, shuffle=shuffle)
    found = convolution(x)
    leaky = convolution(x, slope=0.01)
    onto = torch.ones_like(found)
    added = convolution(x, slope=0.0, onto=onto)

    assert (found - plain).abs().max() < 4e-5
    assert (leaky - functional.leaky_relu(plain, 0.01)).abs().max() < 4e-5
    assert (added - 1 - plain.relu()).abs().max() < 4e-5
    assert added is onto
    assert (x == untouched).all()


@pytest.mark.parametrize("size", SIZES)
def test_convolution_with_few_outputs_agrees_with_the_plain_one(size: tuple[int, int]) -> None:
    module = nn.Sequential(nn.Conv2d(20, 12, 3, padding=1), nn.PixelShuffle(2)).requires_grad_(False)
    x = _picture(*size, 20)

    found = compile_synthesis(module)(x)

    assert (found - _plain(x, module[0].weight, module[0].bias, 2)).abs().max() < 4e-5


@pytest.mark.parametrize("outputs", [3, 16])
@pytest.mark.parametrize("size", SIZES)
def test_transposed_convolution_agrees_with_the_plain_one(size: tuple[int, int], outputs: int) -> None:
    module = nn.ConvTranspose2d(20, outputs, 5, stride=2, padding=2, output_padding=1).requires_grad_(False)
    x = _picture(*size, 20)

    found = compile_synthesis(module)(x)

    assert (found - module(x.permute(2, 0, 1)[None])[0].permute(1, 2, 0)).abs().max() < 4e-5
    weights, bias = shuffled_weights(module.weight, module.bias)
    assert weights.shape == (4 * outputs, 20, 3, 3)
    assert bias.tolist()[:4] == [float(module.bias[0])] * 4
