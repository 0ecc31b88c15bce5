"""The transforms between pictures and latents, as torch modules with the parameter names of CompressAI's checkpoints.

Ordinary float32: what they compute decides what is stored and what is shown, never how a payload is read.
"""

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

LEAKY_SLOPE = 0.01
SHUFFLE = 2
_BETA_LEAST = 1e-6
_PEDESTAL = 2.0**-36
"""GDN's parameters are stored as square roots with this added, so that gradients do not vanish at zero."""


class GDN(nn.Module):
    """Generalised divisive normalisation, x / sqrt(beta + gamma x^2), or its inverse: * for / (arXiv 1511.06281)."""

    def __init__(self, channels: int, *, inverse: bool = False) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.ones(channels))
        self.gamma = nn.Parameter(torch.eye(channels))
        self.inverse = inverse

    def terms(self) -> tuple[Tensor, Tensor]:
        """Beta (C,) and gamma (C, C) as the formula has them."""
        beta = self.beta.clamp(min=(_BETA_LEAST + _PEDESTAL) ** 0.5).square() - _PEDESTAL
        gamma = self.gamma.clamp(min=_PEDESTAL**0.5).square() - _PEDESTAL
        return beta, gamma

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        beta, gamma = self.terms()
        norm = functional.conv2d(x * x, gamma[:, :, None, None], beta)
        return norm.sqrt_().mul_(x) if self.inverse else norm.rsqrt_().mul_(x)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around which the input goes unchanged."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(channels, channels)
        self.conv2 = conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        result: Tensor = self.conv2(_leaky(self.conv1(x)))
        return _leaky(result).add_(x)


class ResidualBlockWithStride(nn.Module):
    """Two 3x3 convolutions to half the size, normalised, beside a 1x1 one."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, outputs, stride=2)
        self.conv2 = conv3x3(outputs, outputs)
        self.gdn = GDN(outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', ceil(H / 2), ceil(W / 2))."""
        result: Tensor = self.gdn(self.conv2(_leaky(self.conv1(x))))
        return result.add_(self.skip(x))


class ResidualBlockUpsample(nn.Module):
    """Two 3x3 convolutions to twice the size, normalised, beside a single one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.subpel_conv = subpixel_conv3x3(channels, channels)
        self.conv = conv3x3(channels, channels)
        self.igdn = GDN(channels, inverse=True)
        self.upsample = subpixel_conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, 2 H, 2 W)."""
        result: Tensor = self.igdn(self.conv(_leaky(self.subpel_conv(x))))
        return result.add_(self.upsample(x))


class ResidualUnit(nn.Module):
    """A 3x3 convolution between two 1x1 ones, at half the channels, around which the input goes unchanged."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv = nn.Sequential(
            nn.Conv2d(channels, half, 1), _relu(), conv3x3(half, half), _relu(), nn.Conv2d(half, channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        result: Tensor = self.conv(x)
        return result.add_(x).relu_()


class AttentionBlock(nn.Module):
    """What one stack of convolutions finds, weighted by another, added to the input (arXiv 2001.01568, simplified)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_a = nn.Sequential(*(ResidualUnit(channels) for _ in range(3)))
        self.conv_b = nn.Sequential(*(ResidualUnit(channels) for _ in range(3)), nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        result: Tensor = self.conv_b(x)
        return result.sigmoid_().mul_(self.conv_a(x)).add_(x)


def conv3x3(inputs: int, outputs: int, *, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution to the same size, or to the stride's fraction of it."""
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)


def subpixel_conv3x3(inputs: int, outputs: int) -> nn.Sequential:
    """A 3x3 convolution to twice the size."""
    return nn.Sequential(conv3x3(inputs, SHUFFLE**2 * outputs), nn.PixelShuffle(SHUFFLE))


def conv5x5(inputs: int, outputs: int) -> nn.Conv2d:
    """A 5x5 convolution to half the size."""
    return nn.Conv2d(inputs, outputs, 5, stride=2, padding=2)


def deconv5x5(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    """A transposed 5x5 convolution to twice the size."""
    return nn.ConvTranspose2d(inputs, outputs, 5, stride=2, padding=2, output_padding=1)


def _relu() -> nn.ReLU:
    return nn.ReLU(inplace=True)


def _leaky(x: Tensor) -> Tensor:
    return functional.leaky_relu_(x, LEAKY_SLOPE)
