"""Options of an encode."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from codec.description import Description, Item
from codec.errors import OptionError
from codec.limits import MAX_BLOCKS, MAX_ITEMS, MAX_MAP_EDGE, MIN_MAP_EDGE
from codec.options.choices import Describer, Mode, Profile, ReferenceCodec
from codec.options.fields import PROFILE_HELP, Options, Text
from codec.quality import Minimum
from codec.strict_json import StrictModel

_OWN_MODES = {Profile.LITE: Mode.REF, Profile.SD21: Mode.PIXEL}
"""How a profile codes the coarse picture unless the caller says; see docs/decisions/0011."""

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


class EncodeOptions(Options):
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
    profile: Profile = Field(default=Profile.LITE, description=PROFILE_HELP)
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
