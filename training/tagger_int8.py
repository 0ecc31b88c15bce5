"""The tagger's weights as 8-bit integers, as `codec.nets.loading.int8` reads them, with the scales of least error."""

from collections.abc import Mapping

import torch

from codec.nets.loading.int8 import SCALE

_MOST = 127
_TRIED = (1.0, 0.9, 0.8, 0.7, 0.6)
"""Shares of a channel's largest weight that the integers may span: the one with the least squared error is kept."""


def quantize(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of two and more axes as int8 (O, ...) with float16 scales (O,); all others, biases, as float16."""
    stored: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.ndim < 2:
            stored[name] = tensor.half()
            continue
        flat = tensor.float().reshape(len(tensor), -1)
        largest = flat.abs().amax(dim=1).clamp_min(1e-6)
        candidates = []
        for share in _TRIED:
            # Rounded to what is stored before it divides, so that the error counted is the one that remains.
            scale = (largest * share / _MOST).half().float()[:, None]
            integers = (flat / scale).round().clamp(-_MOST, _MOST)
            candidates.append((((integers * scale - flat) ** 2).sum(dim=1), integers, scale[:, 0]))
        best = torch.stack([error for error, _, _ in candidates]).argmin(dim=0)
        rows = torch.arange(len(flat))
        integers = torch.stack([integers for _, integers, _ in candidates])[best, rows]
        stored[name] = integers.reshape(tensor.shape).to(torch.int8)
        stored[name + SCALE] = torch.stack([scale for _, _, scale in candidates])[best, rows].half()
    return stored
