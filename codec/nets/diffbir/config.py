"""The dimensions of DiffBIR's networks. The defaults are the published ones; tests use the same at tiny widths.

Needs no PyTorch, so that schedules may know what a network predicts without loading it.
"""

from dataclasses import dataclass
from enum import StrEnum


class Prediction(StrEnum):
    """What the denoising network's output stands for."""

    EPS = "eps"
    """The noise: Stable Diffusion 2.1 base, DiffBIR v1 and v2."""

    V = "v"
    """The velocity of progressive distillation (Salimans and Ho, arXiv 2202.00512): DiffBIR v2.1."""

    CLEAN = "clean"
    """The picture itself, freed of noise: the lite networks, which do nearly all of it in one evaluation."""


@dataclass(frozen=True)
class UNetConfig:
    """The denoising U-Net; the control network is its encoder once more.

    `width` channels at the first level, `multipliers` of it at each; `layers` residual blocks a level;
    `attention` says which levels attend to the text; heads are `head_width` wide, text vectors `context_width`.
    """

    width: int = 320
    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    layers: int = 2
    attention: tuple[bool, ...] = (True, True, True, False)
    head_width: int = 64
    context_width: int = 1024
    latent_channels: int = 4

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels at each level."""
        return tuple(self.width * multiplier for multiplier in self.multipliers)


@dataclass(frozen=True)
class VAEConfig:
    """The autoencoder between pictures and latents. `latent_scale` brings latents to about unit variance."""

    width: int = 128
    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    layers: int = 2
    latent_channels: int = 4
    latent_scale: float = 0.18215


@dataclass(frozen=True)
class TextConfig:
    """OpenCLIP's text tower. `layers` counts those of the checkpoint, of which the last is not used."""

    width: int = 1024
    heads: int = 16
    layers: int = 24
    length: int = 77
    vocabulary: int = 49_408


@dataclass(frozen=True)
class SwinIRConfig:
    """SwinIR as DiffBIR's first stage: `unshuffle` pixels an edge become channels, and are won back at the end.

    `depths`: blocks in each group; `heads`: attention heads in each group; `window`: tokens along an attention
    window's edge; `hidden_ratio`: width of the feed-forward part in multiples of `width`.
    """

    width: int = 180
    depths: tuple[int, ...] = (6,) * 8
    heads: tuple[int, ...] = (6,) * 8
    window: int = 8
    hidden_ratio: float = 2.0
    unshuffle: int = 8


@dataclass(frozen=True)
class BSRNetConfig:
    """BSRNet as DiffBIR v2's first stage: `blocks` of three dense blocks, whose convolutions add `growth` channels."""

    width: int = 64
    growth: int = 32
    blocks: int = 23


@dataclass(frozen=True)
class SCUNetConfig:
    """SCUNet as DiffBIR v2's first stage for noise: `depths`, blocks of the three levels down, the body, and up again;
    `head_width` is fixed in the published code."""

    width: int = 64
    depths: tuple[int, ...] = (4,) * 7
    head_width: int = 32
    window: int = 8


Stage1Config = SwinIRConfig | BSRNetConfig | SCUNetConfig


@dataclass(frozen=True)
class DiffBIRConfig:
    """All of it. `prediction` and `zero_terminal_snr` belong to the weights: DiffBIR v2.1 is `V` and True."""

    unet: UNetConfig = UNetConfig()
    vae: VAEConfig = VAEConfig()
    text: TextConfig = TextConfig()
    stage1: Stage1Config = SwinIRConfig()
    prediction: Prediction = Prediction.EPS
    zero_terminal_snr: bool = False


V1 = DiffBIRConfig()
"""DiffBIR v1 and v2 over Stable Diffusion 2.1 base (configs/inference/cldm.yaml of XPixelGroup/DiffBIR)."""

V2_1 = DiffBIRConfig(prediction=Prediction.V, zero_terminal_snr=True)
"""DiffBIR v2.1 over its own base `sd2.1-base-zsnr-laionaes5` (configs/inference/diffusion_v2.1.yaml)."""
