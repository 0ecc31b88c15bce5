"""Inputs that once gave neither a picture nor a typed error; `python -m bench.mutations` found them."""

from pathlib import Path

import pytest

from codec.errors import PictureError
from codec.picture.open import check_picture, read_picture

PICTURES = sorted((Path(__file__).parent / "corpus").iterdir())


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_picture_gives_a_picture_or_a_typed_error(path: Path) -> None:
    for read in (check_picture, read_picture):
        try:
            read(path)
        except PictureError as error:
            assert "Traceback" not in str(error)
