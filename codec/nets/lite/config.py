"""The dimensions of the lite networks, and at which noise they were trained. Needs no PyTorch."""

from dataclasses import dataclass

from codec.nets.diffbir.config import TextConfig, UNetConfig

LATENT_PX = 4
"""Pixels along the edge of a latent, which is those pixels themselves: 3 x 4 x 4 channels."""

FIRST_TIME = 99
"""The noisiest timestep of training. A tenth of the variance is noise there: the coarse picture says so much already
that starting further away would only cost evaluations."""


@dataclass(frozen=True)
class LiteConfig:
    """U-Net, with the control network, and text encoder, in the terms of Stable Diffusion's."""

    unet: UNetConfig
    text: TextConfig

    @classmethod
    def of(cls, vocabulary: int) -> "LiteConfig":
        """The dimensions with `vocabulary` tokens: those that training saw often enough, and one for all others."""
        return cls(
            UNetConfig(
                width=64,
                multipliers=(1, 2, 2),
                layers=1,
                attention=(False, False, True),
                head_width=32,
                context_width=64,
                latent_channels=3 * LATENT_PX**2,
            ),
            TextConfig(width=64, heads=2, layers=3, vocabulary=vocabulary),
        )
