"""What a caller may ask of an encode or a decode: one definition for the API, the command line and the workers.

Field names are the `misc` flags with underscores. Unknown names and values out of bounds are refused.
"""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from codec.description import Description, Item
from codec.errors import OptionError
from codec.limits import MAX_BLOCKS, MAX_ITEMS, MAX_MAP_EDGE, MAX_TEXT_CHARS, MIN_MAP_EDGE
from codec.quality import Minimum
from codec.strict_json import StrictModel


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


_OWN_MODES = {Profile.LITE: Mode.REF, Profile.SD21: Mode.PIXEL}
"""How a profile codes the coarse picture unless the caller says; see docs/decisions/0011."""

_OWN_RESTORERS = {Profile.LITE: RestorerName.GAN, Profile.SD21: RestorerName.DIFFUSION}
"""How a profile restores unless the caller says; docs/lite.md has the figures."""

_IMPLIED_MODES = {
    "blocks": Mode.PIXEL, "level": Mode.PIXEL, "published_grid": Mode.PIXEL,
    "network": Mode.NET, "scale": Mode.NET,
    "codec": Mode.REF, "max_bpp": Mode.REF,
}  # fmt: skip
"""Options that only one mode has. Who sets one and names no mode means that mode."""

_RATE_MODES = {Profile.LITE: Mode.REF, Profile.SD21: Mode.NET}
"""What who names a rate and no mode means: lite's rates are budgets, those of sd21 learned codecs."""

RATE_BUDGETS = {1: 0.02, 2: 0.03, 3: 0.05}
"""Bits per pixel that a rate stands for in mode ref."""


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


Text = Annotated[str, Field(max_length=MAX_TEXT_CHARS)]


class GivenItem(StrictModel):
    """An item described by the caller."""

    model_config = ConfigDict(frozen=True)

    name: Text = ""
    detail: Text = ""


class GivenDescription(StrictModel):
    """A description made elsewhere, in the form of a description file's JSON."""

    model_config = ConfigDict(frozen=True)

    items: tuple[GivenItem, ...] = Field(default=(), max_length=MAX_ITEMS)
    overall: Text = ""

    def as_description(self) -> Description:
        """The same as the codec's own value."""
        items = tuple(Item(item.name, item.detail) for item in self.items)
        return Description(items, self.overall)


_PROFILE = "Set of networks; a service may have another default (MISC_PROFILE)."


class _Options(StrictModel):
    model_config = ConfigDict(frozen=True)

    later_fields: ClassVar[frozenset[str]] = frozenset()
    """Those that came after the first version's."""

    def choices(self) -> dict[str, Any]:
        """All fields as plain values, those that came later only where they are not at their default: so an order or
        a picture has the words that it had before there were these."""
        fields = type(self).model_fields
        at_default = {name for name in self.later_fields if getattr(self, name) == fields[name].default}
        return self.model_dump(mode="json", exclude=at_default)


class EncodeOptions(_Options):
    """Options of an encode. Defaults need no connection, no key and no weights but those that come with the program."""

    later_fields: ClassVar[frozenset[str]] = frozenset({"verify", "verify_at_least"})

    mode: Mode | None = Field(
        default=None,
        description="Default: the one that the other options belong to, else the profile's own, ref for lite and pixel "
        "for sd21.",
    )
    describe: Describer = Describer.LOCAL
    text: Text | None = Field(default=None, description="The overall text; replaces the describer's.")
    description: GivenDescription | None = Field(default=None, description="A whole description, kept exactly.")
    batch: bool = Field(default=False, description="Ask the model through its Batch API: half price, within 24 h.")
    maps: bool = Field(default=True, description="Store where each item is; off stores the overall text only.")
    map_edge: int = Field(default=8, ge=MIN_MAP_EDGE, le=MAX_MAP_EDGE, description="Blocks along a map's edge.")
    blocks: int = Field(default=32, ge=1, le=MAX_BLOCKS, description="Pixel blocks along the long edge.")
    level: int = Field(default=3, ge=0, le=7, description="Low bits dropped from each channel in pixel mode.")
    published_grid: bool = Field(default=False, description="The block grid of the published code.")
    rate: int = Field(
        default=2,
        ge=1,
        le=3,
        description="1 is smallest. Ref: the budgets 0.02, 0.03 and 0.05 bpp; net: the profile's learned codec.",
    )
    network: str | None = Field(
        default=None, max_length=100, description="Name of the learned codec's weights; replaces profile and rate."
    )
    scale: Literal[1, 2, 4, 8] | None = Field(
        default=None, description="Net mode codes the picture reduced by this; default: what the network is made for."
    )
    codec: ReferenceCodec = ReferenceCodec.AVIF
    max_bpp: float | None = Field(default=None, gt=0, le=24, description="Budget of the whole file in ref mode.")
    profile: Profile = Field(default=Profile.LITE, description=_PROFILE)
    verify: bool = Field(
        default=False, description="Decode at once by the profile's own restorer, and keep figures of what comes back."
    )
    verify_at_least: str | None = Field(
        default=None,
        max_length=60,
        description="METRIC=FIGURE, as ms-ssim-rgb=0.8, or of a distance the most, as lpips-alex=0.3: below it the "
        "picture is encoded again at the next higher rate, up to 3, and if none is enough the original is kept.",
    )

    @property
    def is_verified(self) -> bool:
        """Whether the picture is decoded at once."""
        return self.verify or self.verify_at_least is not None

    @property
    def minimum(self) -> Minimum | None:
        """How good the picture has to come back."""
        return None if self.verify_at_least is None else Minimum.parse(self.verify_at_least)

    @model_validator(mode="before")
    @classmethod
    def _mode_that_is_meant(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        if values.get("mode") is None:
            values = values | {"mode": cls._implied_mode(values)}
        rate = values.get("rate")
        if values["mode"] == Mode.REF and isinstance(rate, int) and "max_bpp" not in values:
            # Stored options have every field, and say so where nobody set a budget: their rate was nobody's wish.
            # A rate out of range is refused by its own field.
            values = values | {"max_bpp": RATE_BUDGETS.get(rate)}
        return values

    @staticmethod
    def _implied_mode(values: dict[str, Any]) -> Mode | None:
        # A level of 0 is a level, but a grid that is not asked for is none.
        implied = [
            mode for name, mode in _IMPLIED_MODES.items() if values.get(name) is not None and values[name] is not False
        ]
        if implied:
            return implied[0]
        profile = values.get("profile") or Profile.LITE
        # A profile that is no word is refused by its own field; a list could not be looked up.
        if profile not in list(Profile):
            return None
        return (_OWN_MODES if values.get("rate") is None else _RATE_MODES)[Profile(profile)]

    @field_validator("verify_at_least")
    @classmethod
    def _is_a_minimum(cls, text: str | None) -> str | None:
        if text is not None:
            Minimum.parse(text)
        return text

    @model_validator(mode="after")
    def _one_source_of_text(self) -> Self:
        if self.text is not None and self.description is not None:
            raise ValueError("give either text or description, not both")
        return self

    @model_validator(mode="after")
    def _batch_needs_a_model(self) -> Self:
        if self.batch and self.describe is not Describer.OPENAI:
            raise ValueError("batch is for describe openai; set that, or leave batch out")
        return self


class DecodeOptions(_Options):
    """Options of a decode (a reconstruction)."""

    later_fields: ClassVar[frozenset[str]] = frozenset(
        {
            "network_set", "positive_prompt", "negative_prompt", "rescale_cfg", "coarse_guidance", "colour_fix",
            "mask_edges", "stage", "guidance_from", "guidance_to",
        }
    )  # fmt: skip

    restorer: RestorerName | None = Field(
        default=None, description="Default: the profile's own, gan for lite and diffusion for sd21."
    )
    schedule: Schedule = Schedule.FAST
    steps: int | None = Field(default=None, ge=1, le=200, description="Network evaluations; default by schedule.")
    guidance: float | None = Field(default=None, ge=0, le=30, description="How strongly the text pulls.")
    solver: Solver | None = Field(default=None, description="Default: dpmpp-2m, and ddpm in the staged schedule.")
    strength: float = Field(default=1.0, ge=0, le=2, description="How strongly the coarse picture holds; 1 as trained.")
    res: int | None = Field(
        default=None, ge=64, le=2048, description="Pixels that the short edge is raised to while restoring."
    )
    seed: int | None = Field(default=None, ge=0, lt=2**63, description="Default: derived from the stream.")
    profile: Profile = Field(default=Profile.LITE, description=_PROFILE)
    network_set: str | None = Field(
        default=None,
        max_length=100,
        description="sd21: which of several sets restores, as diffbir-v2; default: the newest that is whole.",
    )
    positive_prompt: Text | None = Field(
        default=None, description="Diffusion: words that follow every text of the stream, after a comma."
    )
    negative_prompt: Text | None = Field(
        default=None, description='Diffusion: what guidance leads away from; default: "Blurry, Low Quality".'
    )
    rescale_cfg: bool = Field(
        default=False, description="Diffusion: guidance grows from 1 to one more than itself, as in DiffBIR v2.1."
    )
    guidance_from: int = Field(
        default=1000,
        ge=0,
        le=1000,
        description="Diffusion: the noisiest of training's 1000 noise levels that has guidance; steps at noisier ones "
        "have none and take half the time.",
    )
    guidance_to: int = Field(default=0, ge=0, le=1000, description="Diffusion: the cleanest one that has guidance.")
    coarse_guidance: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="Diffusion: how strongly each step is drawn to the cleaned coarse picture where that is even, as "
        "DiffBIR's g_scale; 0.5 is a beginning.",
    )
    colour_fix: ColourFix = Field(
        default=ColourFix.WAVELET, description="Diffusion: how colours are taken from the cleaned coarse picture."
    )
    mask_edges: MaskEdges = Field(default=MaskEdges.SOFT, description="Diffusion: how the items' maps end.")
    stage: DecodeStage = Field(
        default=DecodeStage.FINAL, description="Which picture of those on the way; item-N of the schedule staged."
    )

    @model_validator(mode="after")
    def _stage_is_passed(self) -> Self:
        if self.stage in (DecodeStage.FINAL, DecodeStage.COARSE):
            return self
        if self.restorer_name is not RestorerName.DIFFUSION:
            raise ValueError(f"stage {self.stage} is one of the restorer diffusion; add that, or take coarse")
        if self.stage is not DecodeStage.CLEAN and self.schedule is not Schedule.STAGED:
            raise ValueError(f"stage {self.stage} is one of the schedule staged; add that, or take coarse or clean")
        return self

    @property
    def restorer_name(self) -> RestorerName:
        """The restorer that was asked for, or else the profile's own; none where only the coarse picture is."""
        if self.stage is DecodeStage.COARSE:
            return RestorerName.NONE
        return self.restorer or _OWN_RESTORERS[self.profile]


def check_mode_of_options(options: EncodeOptions, given: Iterable[str], name_of: Callable[[str], str] = str) -> None:
    """Raise OptionError when one of the options that a caller has `given` by name belongs to another mode than theirs.

    For callers who type options. Stored ones have every field, and those of other modes mean nothing there.
    """
    foreign = [name for name in given if _IMPLIED_MODES.get(name, options.mode) is not options.mode]
    if foreign:
        raise OptionError(
            f"{name_of(foreign[0])} is an option of mode {_IMPLIED_MODES[foreign[0]]}, and this call is of mode "
            f"{options.mode}; leave one of the two out."
        )


OptionsT = TypeVar("OptionsT", bound=_Options)


def parse_options(kind: type[OptionsT], values: dict[str, Any], name_of: Callable[[str], str] = str) -> OptionsT:
    """Build options from plain values; raises OptionError with one sentence that names each bad field.

    `name_of`: how the caller's people write a field.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(
            f"{name_of('.'.join(map(str, fault['loc']))) or 'options'}: {fault['msg']}" for fault in error.errors()
        )
        is_unknown = any(fault["type"] == "extra_forbidden" for fault in error.errors())
        known = f" Known options: {', '.join(map(name_of, sorted(kind.model_fields)))}." if is_unknown else ""
        raise OptionError(f"{faults}.{known}") from None
