"""The coarse picture at full size, in every mode, and the errors of payloads that contradict themselves."""

import io

import numpy as np
import pytest
from PIL import Image

from codec.bitstream import ExternalCoarse, PixelCoarse, RefCoarse, Stream
from codec.decode.coarse import rebuild_coarse
from codec.encode.coarse.external import Reference, encode_external_coarse
from codec.errors import ReferenceMissing, StreamCorrupt
from codec.picture.coded import write_coded


def gradient(width: int, height: int) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    red, green = x * 255 // max(1, width - 1), y * 255 // max(1, height - 1)
    return Image.fromarray(np.stack([red, green, np.full_like(x, 90)], axis=-1).astype(np.uint8))


def png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def test_blocks_are_enlarged_smoothly_to_full_size() -> None:
    samples = bytes([0, 0, 0, 31, 31, 31])
    rebuilt = np.asarray(rebuild_coarse(Stream(80, 20, PixelCoarse(2, 1, 3, samples)))).astype(int)
    assert rebuilt.shape == (20, 80, 3)
    assert rebuilt[0, 0, 0] <= 4 and rebuilt[0, -1, 0] >= 250
    assert (np.diff(rebuilt[0, 15:65, 0]) >= 0).all()
    assert np.diff(rebuilt[0, :, 0]).max() < 20


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_reference_of_any_scale_fills_the_picture(scale: int) -> None:
    size = (101, 67)
    reduced = gradient(-(-size[0] // scale), -(-size[1] // scale))
    coarse = RefCoarse("webp", scale, write_coded("webp", reduced, 90, thorough=False))
    rebuilt = rebuild_coarse(Stream(*size, coarse))
    assert rebuilt.size == size and rebuilt.mode == "RGB"
    error = np.abs(np.asarray(rebuilt, dtype=int) - np.asarray(gradient(*size), dtype=int)).mean()
    assert error < 8


def test_reference_with_another_size_than_announced_is_corrupt() -> None:
    coarse = RefCoarse("webp", 1, write_coded("webp", gradient(64, 64), 50, thorough=False))
    with pytest.raises(StreamCorrupt, match="64x64"):
        rebuild_coarse(Stream(65, 64, coarse))


@pytest.mark.parametrize("codec", ["avif", "webp", "jxl", "jpeg"])
def test_reference_that_does_not_decode_is_corrupt(codec: str) -> None:
    if codec == "jxl":
        pytest.importorskip("pillow_jxl")
    file = write_coded(codec, gradient(64, 64), 50, thorough=False)
    with pytest.raises(StreamCorrupt, match=codec):
        rebuild_coarse(Stream(64, 64, RefCoarse(codec, 1, file[: len(file) // 4])))


def test_samples_beyond_their_level_are_corrupt() -> None:
    for samples in (bytes([32, 0, 0]), bytes(2)):
        with pytest.raises(StreamCorrupt):
            rebuild_coarse(Stream(8, 8, PixelCoarse(1, 1, 3, samples)))


def test_external_reference_is_taken_when_its_digest_fits() -> None:
    file = png(gradient(40, 30))
    stream = Stream(80, 60, encode_external_coarse(Reference(file, 0.02), 80, 60))
    rebuilt = rebuild_coarse(stream, reference=file)
    assert rebuilt.size == (80, 60)
    same_size = Stream(40, 30, stream.coarse)
    assert rebuild_coarse(same_size, reference=file).tobytes() == gradient(40, 30).tobytes()


def test_external_reference_that_is_missing_or_another_file_is_named() -> None:
    stream = Stream(8, 8, ExternalCoarse(bytes.fromhex("ab" * 16), 10))
    with pytest.raises(ReferenceMissing, match=r"abababab.*--reference"):
        rebuild_coarse(stream)
    with pytest.raises(ReferenceMissing, match="another file"):
        rebuild_coarse(stream, reference=png(gradient(8, 8)))


def test_external_reference_that_is_no_picture_is_named() -> None:
    import hashlib

    text = b"no picture"
    stream = Stream(8, 8, ExternalCoarse(hashlib.sha256(text).digest()[:16], 10))
    with pytest.raises(ReferenceMissing, match="cannot be opened"):
        rebuild_coarse(stream, reference=text)
