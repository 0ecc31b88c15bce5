"""Draws latents to the cleaned coarse picture: DiffBIR's restoration guidance with its weighted mean squared error.

Plain functions on tensors: it takes no step and evaluates nothing but the decoder that it is handed.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812

_SCALE = 3000.0
"""DiffBIR's own factor on its `g_scale`."""

_BLOCK_PX = 2
_GREY = (0.2989, 0.5870, 0.1140)
_SOBEL = ((1.0, 0.0, -1.0), (2.0, 0.0, -2.0), (1.0, 0.0, -1.0))


def evenness(picture: torch.Tensor) -> torch.Tensor:
    """How even each block of 2 x 2 pixels is: (B, 1, H, W) in [0, 1] for (B, 3, H, W) in [0, 1] with even sides.

    1 less the tanh of a block's Sobel magnitudes, so that edges and texture, which the networks are to invent, are left
    to them (DiffBIR, arXiv 2308.15070, equation 8; `WeightedMSEGuidance`).
    """
    grey = (picture * torch.tensor(_GREY, device=picture.device).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    across = torch.tensor(_SOBEL, dtype=picture.dtype, device=picture.device)
    kernels = torch.stack((across, across.T))[:, None]
    gradient = F.conv2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), kernels)
    magnitude = gradient.pow(2).sum(dim=1, keepdim=True).sqrt()
    blocks = F.avg_pool2d(magnitude, _BLOCK_PX) * _BLOCK_PX**2
    return 1 - F.interpolate(blocks.tanh(), scale_factor=_BLOCK_PX, mode="nearest")


def pull(
    decode: Callable[[torch.Tensor], torch.Tensor], clean: torch.Tensor, target: torch.Tensor, samples: int
) -> torch.Tensor:
    """Where to move `clean` latents, (1, C, h, w), so that their picture comes closer to `target`, (1, 3, H, W).

    The negative gradient of the weighted squared error over pictures in [-1, 1], divided by the `samples` of the whole
    picture, of which these may be a tile. `decode` makes pictures in [0, 1].
    """
    # Whoever takes steps keeps no record of them, which a gradient needs.
    with torch.inference_mode(False), torch.enable_grad():
        latents = clean.clone().requires_grad_()
        picture = decode(latents)
        wanted = target.clone().to(picture.device)
        error = (2 * (picture - wanted)).pow(2) * evenness(wanted)
        (gradient,) = torch.autograd.grad(error.sum() / samples, latents)
    return -gradient


def step_of(pull: torch.Tensor, scale: float) -> torch.Tensor:
    """By what a step moves latents for this pull, at DiffBIR's `g_scale`."""
    return _SCALE * scale * pull
