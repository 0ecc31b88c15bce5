"""Perceptual hashes: near for what was saved again, far for what is another picture."""

import io

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageEnhance

from codec.picture.likeness import distance, perceptual_hash

PHOTOS = {
    name: Image.fromarray(getattr(skimage.data, name)()).convert("RGB") for name in ("astronaut", "coffee", "chelsea")
}


@pytest.mark.parametrize("name", PHOTOS)
def test_picture_saved_again_is_near(name: str) -> None:
    photo = PHOTOS[name]
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=30)
    changed = (
        Image.open(file).convert("RGB"),
        photo.resize((photo.width // 3, photo.height // 3), Image.Resampling.LANCZOS),
        ImageEnhance.Brightness(photo).enhance(1.1),
        photo.convert("L").convert("RGB"),
    )
    hashed = perceptual_hash(photo)
    assert [distance(hashed, perceptual_hash(other)) <= 3 for other in changed] == [True] * 4
    assert -(2**63) <= hashed < 2**63


def test_other_pictures_are_far() -> None:
    hashes = [perceptual_hash(photo) for photo in PHOTOS.values()]
    noise = np.random.default_rng(1).integers(0, 255, (4, 64, 64, 3), dtype=np.uint8)
    hashes += [perceptual_hash(Image.fromarray(one)) for one in noise]
    assert min(distance(a, b) for number, a in enumerate(hashes) for b in hashes[:number]) > 12


def test_even_pictures_are_all_alike() -> None:
    of_even = {
        perceptual_hash(Image.new("RGB", size, colour)) for size, colour in (((9, 7), "teal"), ((64, 64), "teal"))
    }
    assert len(of_even) == 1
    assert (distance(-1, 0), distance(-1, -1), distance(1, -(2**63))) == (64, 0, 2)
