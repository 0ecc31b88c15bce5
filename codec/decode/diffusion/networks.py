"""What the diffusion restorer asks of its networks, whatever they are. Implements and loads none."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol

import torch

from codec.decode.diffusion.sampling import Sampling
from codec.nets.diffbir.config import Prediction


class Stage(StrEnum):
    """What a step of the restorer does; also the names in its timings."""

    EMBED = "embed"
    """Texts become vectors, all of a request at once."""
    CLEAN = "clean"
    """The picture is freed of its degradation, before it becomes the condition."""
    ENCODE = "encode"
    """The cleaned picture becomes the condition latent."""
    DIFFUSE = "diffuse"
    """The denoising network is evaluated on the noisy latent."""
    GUIDE = "guide"
    """The clean latents of a step are drawn to the cleaned picture, where that is asked for."""
    DECODE = "decode"
    """The latent becomes a picture, with the colours of the cleaned one."""


class Networks(Protocol):
    """One set of networks, on one device.

    Pictures are (B, 3, H, W) float32 in [0, 1] with sides that are multiples of `multiple_px`; latents are
    (B, latent_channels, H / latent_px, W / latent_px) float32 of about unit variance. Inputs may lie on any device and
    are cast to the networks' own type; outputs are float32 on `device`. Calls change nothing, so that several threads
    may make them.
    """

    @property
    def latent_px(self) -> int:
        """Pixels along the edge of one latent."""

    @property
    def latent_channels(self) -> int:
        """Channels of a latent."""

    @property
    def multiple_px(self) -> int:
        """What the sides of every picture and tile must be multiples of."""

    @property
    def res_px(self) -> int:
        """The short edge that pictures are raised to where the caller does not say."""

    @property
    def prediction(self) -> Prediction:
        """What `predict` predicts."""

    @property
    def zero_terminal_snr(self) -> bool:
        """Whether the noisiest level of training had nothing of the picture left."""

    @property
    def sampling(self) -> Sampling:
        """Steps, guidance and first noise where the caller does not say."""

    @property
    def device(self) -> torch.device:
        """Where the networks are."""

    @property
    def bytes_per_px(self) -> Mapping[Stage, float]:
        """The most memory that each stage with tiles takes for a pixel of one sample, without the weights."""

    def embed(self, texts: Sequence[str]) -> torch.Tensor:
        """(B, T, C) for B texts of any length, which are cut where the text encoder ends."""

    def clean(self, picture: torch.Tensor) -> torch.Tensor:
        """The picture without its degradation, same shape; may be the picture itself."""

    def encode(self, picture: torch.Tensor) -> torch.Tensor:
        """The picture as a condition latent, without randomness."""

    def predict(
        self,
        noisy: torch.Tensor,
        times: torch.Tensor,
        texts: torch.Tensor,
        condition: torch.Tensor,
        strength: float = 1.0,
        regions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The `prediction` for `noisy`, (B, C, h, w), at `times`, (B,) timesteps of training.

        `texts`: (B, R, T, C), R texts for each sample; `regions`: (B, R, h, w), how much each text holds where, adding
        up to 1 everywhere; only None when R is 1. `strength`: how strongly the condition steers, 1 as trained.
        """

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """The picture that latents stand for; values may leave [0, 1] a little. Gradients may be taken of it."""
