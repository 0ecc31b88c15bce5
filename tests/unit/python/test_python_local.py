"""`misc_archive` on this machine: any kind of picture in, a stream, and the picture that comes back."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from codec.errors import OptionError
from misc_archive import CodecError, Encoded, decode, encode, inspect, local
from misc_archive.sources import picture_of
from tests.unit.cli.conftest import write_photo

QUICK: dict[str, Any] = {"mode": "pixel", "describe": "none", "blocks": 8}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    write_photo(path)
    return path


def samples() -> np.ndarray:
    """(6, 8, 3) uint8 with three different channels."""
    return np.arange(144, dtype=np.uint8).reshape(6, 8, 3)


def test_two_lines_bring_a_picture_back(photo: Path, tmp_path: Path) -> None:
    encoded = encode(photo, **QUICK)
    back = decode(encoded, restorer="smooth")
    assert (back.picture.size, back.picture.mode, back.generative) == ((90, 60), "RGB", False)
    assert back.array.shape == (60, 90, 3)
    original = np.asarray(Image.open(photo)).astype(int)
    assert np.abs(original - back.array).mean() < 25
    assert len(encoded) == len(encoded.data) and encoded.bpp == 8 * len(encoded) / 5400
    assert Image.open(io.BytesIO(back._repr_png_())).size == (90, 60)


def test_samples_are_a_list_and_differ_only_where_there_is_noise(photo: Path) -> None:
    encoded = encode(photo, **QUICK)
    (only,) = decode(encoded, samples=1, restorer="smooth")
    assert only.array.tobytes() == decode(encoded, restorer="smooth").array.tobytes()
    for count, word in ((2, "no noise"), (0, "none")):
        with pytest.raises(OptionError, match=word):
            decode(encoded, samples=count, restorer="smooth")


def test_seeds_of_samples_follow_each_other(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_decode", lambda _data, _reference, options: options.seed)
    encoded = encode(photo, **QUICK)
    assert decode(encoded, samples=3, restorer="diffusion", seed=7) == [7, 8, 9]
    first, second = decode(encoded.data, samples=2, restorer="diffusion")
    assert second == first + 1


def test_path_bytes_image_and_array_are_one_picture(photo: Path) -> None:
    image = Image.open(photo)
    streams = {
        encode(source, **QUICK).data for source in (photo, str(photo), photo.read_bytes(), image, np.asarray(image))
    }
    assert len(streams) == 1


def test_saved_files_are_those_of_the_commands(photo: Path, tmp_path: Path) -> None:
    encoded = encode(photo, **QUICK)
    encoded.save(tmp_path / "a.misc")
    for source in (tmp_path / "a.misc", str(tmp_path / "a.misc"), encoded.data, encoded):
        assert (
            decode(source, restorer="smooth").picture.tobytes() == encoded.decode(restorer="smooth").picture.tobytes()
        )
        assert inspect(source)["width"] == 90
    encoded.decode(restorer="smooth").save(tmp_path / "back.webp")
    saved = Image.open(tmp_path / "back.webp")
    assert saved.format == "WEBP" and b"algorithmicallyEnhanced" in saved.info["xmp"]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I", "F", "I;16"])
def test_images_of_every_mode_are_taken(mode: str) -> None:
    source = Image.new("RGB", (8, 6), (200, 40, 40))
    if mode in ("I;16", "I", "F", "LA"):
        source = source.convert("L")
    if mode == "LAB":
        to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
        source = ImageCms.applyTransform(source, to_lab)
    elif mode == "I;16":
        source = Image.fromarray(np.asarray(source).astype(np.uint16) * 257)
    elif mode == "P":
        source = source.quantize(4)
    else:
        source = source.convert(mode)
    picture = picture_of(source).picture
    assert (picture.mode, picture.size) == ("RGB", (8, 6))
    if mode in ("P", "RGB", "RGBA", "YCbCr", "HSV", "CMYK"):
        assert np.abs(np.asarray(picture)[0, 0].astype(int) - (200, 40, 40)).max() <= 3
    elif mode in ("L", "LA", "I;16"):
        assert np.ptp(np.asarray(picture)) == 0 and abs(int(np.asarray(picture)[0, 0, 0]) - 88) <= 1


def test_arrays_of_every_depth_mean_the_same() -> None:
    wanted = np.asarray(picture_of(samples()).picture)
    assert (wanted == samples()).all()
    for array in (samples().astype(np.uint16) * 257, samples() / 255, (samples() / 255).astype(np.float32)):
        assert (np.asarray(picture_of(array).picture) == wanted).all()
    grey = samples()[:, :, :1]
    assert (np.asarray(picture_of(grey).picture) == np.repeat(grey, 3, axis=2)).all()
    assert (np.asarray(picture_of(grey[:, :, 0]).picture) == np.repeat(grey, 3, axis=2)).all()
    assert set(np.unique(np.asarray(picture_of(grey[:, :, 0] > 50).picture))) == {0, 255}


@pytest.mark.parametrize(
    "array",
    [np.zeros((4,), np.uint8), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 5), np.uint8), np.zeros((4, 4), np.int64),
     np.full((4, 4), 1.5), np.full((4, 4), np.nan)],
)  # fmt: skip
def test_array_that_is_no_picture_is_refused_in_a_sentence(array: np.ndarray) -> None:
    with pytest.raises(CodecError, match=r"\w \w.*\."):
        encode(array, **QUICK)


def test_wrong_option_damaged_stream_and_missing_file_are_typed_errors(photo: Path, tmp_path: Path) -> None:
    with pytest.raises(CodecError):
        encode(photo, quality=3)
    with pytest.raises(CodecError):
        decode(b"no stream")
    with pytest.raises(CodecError):
        inspect(encode(photo, **QUICK).data[:-3])
    with pytest.raises(FileNotFoundError):
        encode(tmp_path / "none.png")


def test_notes_and_description_reach_the_caller() -> None:
    given = encode(samples(), mode="pixel", text="a row of coloured cells", blocks=4)
    assert isinstance(given, Encoded) and given.description.overall == "a row of coloured cells"
