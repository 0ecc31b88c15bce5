"""What the tests of the command share: a runner, and pictures on disk."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from cli.main import build_app


@pytest.fixture
def misc() -> Callable[..., Result]:
    """Runs `misc` with the given words; the result has exit_code, stdout and stderr."""
    app = build_app()
    return lambda *words, input=None: CliRunner().invoke(app, [str(word) for word in words], input=input)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A PNG of 90x60 pixels."""
    path = tmp_path / "photo.png"
    write_photo(path)
    return path


def write_photo(path: Path, width: int = 90, height: int = 60) -> None:
    """A picture with a gradient and an edge."""
    y, x = np.mgrid[0:height, 0:width]
    array = np.stack([x * 2 % 256, y * 4 % 256, np.where(x > y, 200, 40)], axis=-1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.astype(np.uint8)).save(path)
