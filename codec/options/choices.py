"""The words that options choose among."""

from enum import StrEnum


class Mode(StrEnum):
    """How the coarse picture is coded."""

    PIXEL = "pixel"
    """A thumbnail of a few blocks, losslessly coded."""
    NET = "net"
    """A learned codec of the CompressAI family."""
    REF = "ref"
    """Another codec is the starting point."""


class Describer(StrEnum):
    """Who says what is in the picture."""

    LOCAL = "local"
    """The built-in describer; needs no network."""
    OPENAI = "openai"
    """An OpenAI-compatible multimodal model."""
    NONE = "none"
    """Nobody: the stream has no text and no maps."""


class Profile(StrEnum):
    """A complete set of networks."""

    LITE = "lite"
    """Small networks shipped with the project."""
    SD21 = "sd21"
    """Stable Diffusion 2.1 steered by DiffBIR."""


class ReferenceCodec(StrEnum):
    """Codecs that the `ref` mode can start from."""

    AVIF = "avif"
    """AV1 still picture."""
    WEBP = "webp"
    """VP8 key frame."""
    JXL = "jxl"
    """JPEG XL; needs the pillow-jxl-plugin."""
    JPEG = "jpeg"
    """Baseline or progressive JPEG."""


class Schedule(StrEnum):
    """How the restorer spends its network calls."""

    FAST = "fast"
    """Regions fused in one pass, few calls."""
    STAGED = "staged"
    """The published four passes."""


class RestorerName(StrEnum):
    """Who turns the coarse picture into the finished one."""

    SMOOTH = "smooth"
    """Edge-aware enlargement; no network, invents nothing."""
    GAN = "gan"
    """One look of the GAN-trained network that is stage 1 of the profile lite; uses no texts."""
    DIFFUSION = "diffusion"
    """Reconstructs it by a diffusion model; needs the networks of a profile."""
    NONE = "none"
    """Nobody: the coarse picture as the stream has it, enlarged."""


class Solver(StrEnum):
    """How the diffusion restorer gets from noise to a picture."""

    DDPM = "ddpm"
    """The published ancestral sampler: new noise at every step."""
    DPMPP_2M = "dpmpp-2m"
    """DPM-Solver++ of order 2; few steps."""
    UNIPC = "unipc"
    """UniPC of order 2, which corrects each step by the next look at it."""
    EULER = "euler"
    """Order 1, the same as DDIM."""


class ColourFix(StrEnum):
    """Where the diffusion restorer's picture takes its colours from."""

    WAVELET = "wavelet"
    """What is coarser than about 60 px is the cleaned picture's, as published."""
    ADAIN = "adain"
    """Each channel has the mean and the deviation of the cleaned picture's."""
    NONE = "none"
    """They stay as the networks made them."""


class MaskEdges(StrEnum):
    """How an item's map ends in the picture."""

    SOFT = "soft"
    """Each block fades into its neighbours."""
    HARD = "hard"
    """At the block's last pixel, as published."""


class DecodeStage(StrEnum):
    """How far a decode goes."""

    COARSE = "coarse"
    """No way: the same as the restorer none."""
    CLEAN = "clean"
    """What stage 1 makes of it."""
    ITEM_1 = "item-1"
    """After the pass of the first item; as those that follow of the schedule staged."""
    ITEM_2 = "item-2"
    """After the second."""
    ITEM_3 = "item-3"
    """After the third."""
    FINAL = "final"
    """To the end."""
