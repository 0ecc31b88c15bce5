"""Options that the published decoders have, for the commands that restore: `misc decode` and `misc pull`."""

from typing import Annotated

import typer

PositivePrompt = Annotated[str | None, typer.Option(metavar="TEXT", help="diffusion: words after every text.")]
NegativePrompt = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help='diffusion: what guidance leads away from ("Blurry, Low Quality").'),
]
RescaleCFG = Annotated[
    bool, typer.Option("--rescale-cfg", help="diffusion: guidance grows from 1 to one more than itself.")
]
GuidanceFrom = Annotated[
    int | None,
    typer.Option(help="diffusion: the noisiest of 1000 levels that has guidance; others take half the time."),
]
GuidanceTo = Annotated[int | None, typer.Option(help="diffusion: the cleanest level that has guidance (0).")]
CoarseGuidance = Annotated[
    float | None,
    typer.Option(help="diffusion: how strongly each step is drawn to the cleaned coarse picture, as 0.5 (0)."),
]
ColourFix = Annotated[
    str | None,
    typer.Option("--colour-fix", "--color-fix", help="diffusion: wavelet, adain or none; colours of the cleaned one."),
]
MaskEdges = Annotated[str | None, typer.Option(help="diffusion: how items' maps end: soft, or hard as published.")]
Samples = Annotated[
    int, typer.Option(min=1, max=100, help="Pictures of seeds that follow each other: NAME_0, NAME_1, ...")
]
