"""The local describer: what it says of pictures whose content is known, and its limits on words and on inputs."""

import time
import warnings

import numpy as np
import pytest
from PIL import Image
from skimage import data

from codec.encode.describe.local import describe_locally


def canvas(colour, width=400, height=300):
    return np.full((height, width, 3), colour, np.uint8)


def disc(pixels, x, y, radius, colour):
    rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    pixels[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] = colour
    return pixels


def photos():
    return {"astronaut": data.astronaut(), "coffee": data.coffee(), "chelsea": data.chelsea(), "rocket": data.rocket()}


def odd_pictures():
    random = np.random.default_rng(7)
    return {
        "one pixel": canvas((200, 30, 30), 1, 1),
        "three pixels": random.integers(0, 256, (1, 3, 3), dtype=np.uint8),
        "flat grey": canvas(128),
        "black": canvas(0),
        "thin and tall": random.integers(0, 256, (5000, 2, 3), dtype=np.uint8),
        "thin and wide": random.integers(0, 256, (2, 5000, 3), dtype=np.uint8),
        "noise": random.integers(0, 256, (300, 500, 3), dtype=np.uint8),
        "small noise": random.integers(0, 256, (20, 30, 3), dtype=np.uint8),
        "ramp": np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (64, 256, 3)).copy(),
        "checks": np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((32, 32)))[..., None].repeat(3, 2).astype(np.uint8)
        * 255,
    }


def test_yellow_disc_on_blue_is_named_shaped_and_placed():
    found = describe_locally(Image.fromarray(disc(canvas((30, 60, 160)), 300, 80, 50, (250, 220, 40))))
    items = {item.name: item.detail for item in found.description.items}
    assert items == {
        "blue surface": "smooth blue surface filling the whole picture",
        "yellow shape": "smooth yellow round shape in the upper right",
    }
    assert "yellow round shape in the upper right" in found.description.overall


def test_map_of_an_item_covers_the_item():
    pixels = canvas((245, 245, 245))
    pixels[100:220, 40:160] = (220, 20, 20)
    found = describe_locally(Image.fromarray(pixels))
    at = next(i for i, item in enumerate(found.description.items) if "red block" in item.name)
    red = found.maps[at]
    assert (red.shape, red.dtype) == ((192, 256), np.float32)
    expected = np.zeros((192, 256), np.float32)
    expected[64:141, 26:102] = 1
    assert np.minimum(red, expected).sum() / np.maximum(red, expected).sum() > 0.92


def test_three_coloured_discs_are_three_items_and_none_is_left_out_for_a_second_piece_of_ground():
    pixels = canvas((90, 90, 90), 600, 200)
    for x, colour in ((100, (220, 30, 30)), (300, (40, 160, 60)), (500, (250, 220, 40))):
        disc(pixels, x, 100, 60, colour)
    names = " ".join(item.name for item in describe_locally(Image.fromarray(pixels)).description.items)
    assert sum(colour in names for colour in ("red", "green", "yellow")) >= 2


def test_blue_gradient_over_rough_green_reads_as_sky_over_foliage():
    random = np.random.default_rng(1)
    pixels = np.empty((240, 360, 3), np.uint8)
    pixels[:120] = np.linspace((110, 165, 225), (170, 205, 240), 120)[:, None]
    pixels[120:] = np.clip(np.array((60, 110, 40)) + random.normal(0, 30, (120, 360, 1)), 0, 255)
    description = describe_locally(Image.fromarray(pixels)).description
    details = [item.detail for item in description.items]
    assert any("blue sky-like area across the top" in detail for detail in details)
    assert any("green foliage-like area" in detail for detail in details)
    assert "apparently outdoor" in description.overall


def test_stripes_are_named_with_their_direction():
    upright = canvas(200)
    upright[:, np.arange(400) % 20 < 10] = 40
    for pixels, word in ((upright, "vertically"), (upright.transpose(1, 0, 2).copy(), "horizontally")):
        detail = describe_locally(Image.fromarray(pixels)).description.items[0].detail
        assert detail.startswith(f"{word} striped")


def test_black_and_white_photo_is_called_so():
    camera = Image.fromarray(data.camera()).convert("RGB")
    description = describe_locally(camera).description
    assert "in black and white" in description.overall
    assert any("black" in item.name for item in description.items)


def test_flat_picture_has_one_item_and_its_map_is_full():
    found = describe_locally(Image.fromarray(canvas(128)))
    assert [item.name for item in found.description.items] == ["grey surface"]
    assert found.maps[0].min() == 1


@pytest.mark.parametrize("name", [*photos(), *odd_pictures()])
def test_words_stay_within_their_limits_and_nothing_warns(name):
    picture = Image.fromarray({**photos(), **odd_pictures()}[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = describe_locally(picture)
    items = found.description.items
    assert 1 <= len(items) <= 3
    assert len(found.maps) == len(items)
    assert all(1 <= len(item.name.split()) <= 3 for item in items)
    assert all(3 <= len(item.detail.split()) <= 10 for item in items)
    assert len({item.name for item in items}) == len(items)
    assert 40 <= len(found.description.overall.split()) <= 60
    for item_map in found.maps:
        assert item_map.ndim == 2
        assert 0 <= item_map.min() <= item_map.max() == 1
    assert sum(found.maps).max() == 1


def test_photos_get_different_descriptions():
    overall = {describe_locally(Image.fromarray(photo)).description.overall for photo in photos().values()}
    assert len(overall) == len(photos())


def test_same_picture_gives_the_same_description_and_maps():
    picture = Image.fromarray(data.coffee())
    first, second = describe_locally(picture), describe_locally(picture)
    assert first.description == second.description
    assert all(np.array_equal(one, other) for one, other in zip(first.maps, second.maps, strict=True))


def test_hundred_megapixels_take_about_as_long_as_a_small_picture():
    picture = Image.new("RGB", (12_500, 8_000), (40, 90, 160))
    picture.paste((230, 200, 40), (8_000, 5_000, 11_000, 7_000))
    started = time.process_time()
    found = describe_locally(picture)
    assert time.process_time() - started < 4
    assert any("yellow" in item.name for item in found.description.items)
