"""Kernels and matrices as 8-bit integers with one scale for each output channel: half of float16's size in a file.

They are computed in floating point again.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE = ".scale"
"""Ends the name of the scales of the tensor that the name begins with."""

_LARGEST = 127

_LEAST_VALUES = 2048
"""Smaller tensors stay in float16: they are a hundredth of the file, and the last convolution's steps would be seen."""


def to_int8(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors for a file: kernels (O, I, h, w) and matrices (O, I) as int8 with their scales, (O,) float32,
    others in float16."""
    stored = {}
    for name, values in tensors.items():
        if values.ndim < 2 or values.numel() < _LEAST_VALUES:
            stored[name] = values.half().contiguous()
            continue
        scale = (values.float().abs().flatten(1).amax(1) / _LARGEST).clamp_min(torch.finfo(torch.float32).tiny)
        stored[name] = (values.float() / _over(scale, values)).round().to(torch.int8).contiguous()
        stored[name + SCALE] = scale
    return stored


def from_int8(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file in float32. Raises KeyError for integers without a scale."""
    tensors = {}
    for name, values in stored.items():
        if values.dtype == torch.int8:
            tensors[name] = values.float() * _over(stored[name + SCALE].float(), values)
        elif not name.endswith(SCALE):
            tensors[name] = values.float()
    return tensors


def _over(scale: Tensor, values: Tensor) -> Tensor:
    """(O,) as (O, 1, ...), with as many dimensions as `values`."""
    return scale.view(-1, *(1,) * (values.ndim - 1))
