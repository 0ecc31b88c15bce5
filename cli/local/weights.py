"""The folder of networks that a command means."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import fail_usage

if TYPE_CHECKING:
    from codec.weights.store import WeightsStore

PathOption = Annotated[
    Path | None,
    typer.Option("--path", metavar="DIR", help="Folder of weights; MISC_WEIGHTS_PATH or your data folder without it."),
]
JSONOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def weights_folder(path: Path | None = None) -> Path:
    """The folder that is meant: the one given, that of MISC_WEIGHTS_PATH, or the one in the user's data."""
    from codec.weights.store import default_folder
    from core.settings import WeightsSettings, load

    return path or load(WeightsSettings).path or default_folder()


def open_weights(path: Path | None) -> "WeightsStore":
    from codec.weights.store import WeightsStore
    from core.errors import ServiceError

    try:
        return WeightsStore(weights_folder(path))
    except ServiceError as error:
        raise fail_usage(str(error)) from None
