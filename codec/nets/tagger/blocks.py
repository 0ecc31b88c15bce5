"""Convolutions as TensorFlow pads them, and the inverted residual block that classifier and detector are made of."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class SameConv2d(nn.Conv2d):
    """A convolution with padding "same": output size ceil(input / stride), the odd pixel of padding below and right."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to (B, C', ceil(H / stride), ceil(W / stride))."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        missing = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[-2:]]
        (above, below), (left, right) = ((count // 2, count - count // 2) for count in missing)
        if above == below and left == right:
            return F.conv2d(x, self.weight, self.bias, self.stride, (above, left), 1, self.groups)
        return super().forward(F.pad(x, (left, right, above, below)))


class InvertedResidual(nn.Module):
    """Expand, filter each channel by itself, project (Sandler et al., MobileNetV2, 2018); batch norms are folded in."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.expand = SameConv2d(inputs, width, 1) if expansion > 1 else None
        self.depthwise = SameConv2d(width, width, kernel, stride, groups=width)
        self.project = SameConv2d(width, outputs, 1)
        self.is_residual = stride == 1 and inputs == outputs

    def expanded(self, x: torch.Tensor) -> torch.Tensor:
        """The block's input at its inner width, (B, inputs * expansion, H, W)."""
        return x if self.expand is None else F.relu6(self.expand(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs, H, W) to (B, outputs, ceil(H / stride), ceil(W / stride))."""
        return self.finished(x, self.expanded(x))

    def finished(self, x: torch.Tensor, inner: torch.Tensor) -> torch.Tensor:
        """The block's output from its input and what `expanded` made of it."""
        out: torch.Tensor = self.project(F.relu6(self.depthwise(inner)))
        return x + out if self.is_residual else out


def stages(inputs: int, rows: tuple[tuple[int, int, int, int, int], ...]) -> nn.ModuleList:
    """Inverted residual blocks by rows of (repeats, kernel, stride of the first, expansion, outputs)."""
    blocks = nn.ModuleList()
    for repeats, kernel, stride, expansion, outputs in rows:
        for repeat in range(repeats):
            blocks.append(InvertedResidual(inputs, outputs, kernel, stride if repeat == 0 else 1, expansion))
            inputs = outputs
    return blocks
