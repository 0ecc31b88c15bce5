"""Options of a decode (a reconstruction)."""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from codec.options.choices import ColourFix, DecodeStage, MaskEdges, Profile, RestorerName, Schedule, Solver
from codec.options.fields import PROFILE_HELP, Options, Text

_OWN_RESTORERS = {Profile.LITE: RestorerName.GAN, Profile.SD21: RestorerName.DIFFUSION}
"""How a profile restores unless the caller says; docs/lite.md has the figures."""


class DecodeOptions(Options):
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
    profile: Profile = Field(default=Profile.LITE, description=PROFILE_HELP)
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
