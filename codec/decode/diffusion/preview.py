"""A small picture out of a latent without the autoencoder, as linear a guess as it is a cheap one."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812

from codec.decode.diffusion.networks import Networks

_SAMPLE_UNITS = 4
"""The sample picture's edge in the networks' own multiples: with 64 pixels, 1024 latents to fit 15 numbers to."""


@dataclass(frozen=True)
class LatentColours:
    """The colours that a latent's channels stand for: `colours` = channels @ `factors` + `offset`."""

    factors: torch.Tensor
    offset: torch.Tensor

    @classmethod
    def fit(cls, networks: Networks) -> "LatentColours":
        """By least squares over a picture of soft random colours, so that it suits any autoencoder."""
        edge = _SAMPLE_UNITS * networks.multiple_px
        generator = torch.Generator().manual_seed(0)
        picture = torch.zeros(1, 3, edge, edge)
        for cells in (4, 8, 16):
            colours = torch.rand(1, 3, cells, cells, generator=generator)
            picture += F.interpolate(colours, size=(edge, edge), mode="bilinear", align_corners=False) / 3
        with torch.inference_mode():
            latents = networks.encode(picture).cpu()
        averages = F.avg_pool2d(picture, networks.latent_px)
        # In float64 and by pseudo-inverse, because channels may say the same twice.
        known = F.pad(latents[0].flatten(1).T.double(), (0, 1), value=1.0)
        solution = torch.linalg.lstsq(known, averages[0].flatten(1).T.double(), driver="gelsd").solution.float()
        return cls(solution[:-1], solution[-1])

    def picture(self, latents: torch.Tensor) -> npt.NDArray[np.uint8]:
        """(1, C, h, w) to (h, w, 3)."""
        colours = latents[0].float().cpu().permute(1, 2, 0) @ self.factors + self.offset
        return (colours.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
