"""Whole streams and pictures, small, one of each kind: what thousands of damaged relatives are made of."""

import io
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from codec.bitstream import ExternalCoarse, Maps, PixelCoarse, RefCoarse, Stream, Texts, pack, unpack
from codec.bitstream.coarse.reference import coded_size
from codec.bitstream.pixels.payload import standard_grid

_TESTS = Path(__file__).parents[2] / "tests"
_MOST_SEED_BYTES = 4_000
"""Golden streams beyond this take tens of milliseconds each."""

_QUICK_SAMPLES, _QUICK_CHARS = 60, 40
"""What is decoded bit by bit takes a millisecond for so many."""

_NET_STREAMS = ("net-mbt2018-mean", "net-cheng2020-attn")


@cache
def streams() -> tuple[bytes, ...]:
    """One stream of each kind of section, grid and wrapper; every golden stream that is small is among them."""
    disc = bytes((x - 3) ** 2 + (y - 4) ** 2 < 8 for y in range(8) for x in range(8))
    maps = Maps(8, (disc, bytes(64), disc[::-1]))
    texts = Texts(("a red boat", "", "grey sky"), "A red boat on calm water.")
    picture = gradient(480, 320)
    made = [
        Stream(90, 60, _blocks(picture, 90, 60, 4), texts, maps),
        Stream(300, 200, _blocks(picture, 300, 200, 24, level=6)),
        Stream(40, 40, _blocks(picture, 40, 40, 4), maps=Maps(5, (bytes(25), disc[:25]))),
        Stream(61, 47, ExternalCoarse(bytes(range(16)), 4_321), Texts(), maps, "sd21", b"abcd", b"wxyz"),
    ]
    for codec, kind, options in (
        ("jpeg", "JPEG", {"quality": 20}), ("webp", "WEBP", {"quality": 10}), ("avif", "AVIF", {"quality": 20}),
    ):  # fmt: skip
        file = io.BytesIO()
        picture.resize(coded_size(96, 64, 2)).save(file, kind, **options)
        made.append(Stream(96, 64, RefCoarse(codec, 2, file.getvalue()), maps=maps))
    golden = [path.read_bytes() for path in sorted((_TESTS / "golden").glob("*.misc"))]
    return tuple(pack(stream).data for stream in made) + tuple(data for data in golden if len(data) <= _MOST_SEED_BYTES)


@cache
def quick_streams() -> tuple[bytes, ...]:
    """Those that take a few milliseconds."""
    return tuple(data for data in streams() if not _is_slow(data))


@cache
def slow_streams() -> tuple[bytes, ...]:
    """Those that take tens or hundreds of milliseconds."""
    return tuple(data for data in streams() if _is_slow(data))


def _is_slow(data: bytes) -> bool:
    stream = unpack(data).stream
    samples = len(stream.coarse.samples) if isinstance(stream.coarse, PixelCoarse) else 0
    return samples > _QUICK_SAMPLES or len(stream.texts.overall) > _QUICK_CHARS


@cache
def net_streams() -> Mapping[str, bytes]:
    """Streams of mode net by the architecture whose tiny network reads them."""
    folder = _TESTS / "golden" / "decoded"
    return {name.removeprefix("net-"): (folder / f"{name}.misc").read_bytes() for name in _NET_STREAMS}


@cache
def pictures() -> Mapping[str, tuple[bytes, ...]]:
    """Picture files by format, several of each: plain, with transparency, palettes, profiles, frames."""
    import pillow_heif
    import pillow_jxl  # noqa: F401 - it registers its writer

    pillow_heif.register_heif_opener()
    plain = gradient(64, 48)
    grey, alpha, indexed = plain.convert("L"), plain.copy(), plain.convert("P")
    alpha.putalpha(grey)
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = {"save_all": True, "append_images": [plain.rotate(90)], "duration": 50}
    made = {
        "jpeg": [_file(plain, "JPEG", exif=exif), _file(grey, "JPEG", progressive=True), _file(
            plain.convert("CMYK"), "JPEG")],
        "png": [_file(plain, "PNG"), _file(alpha, "PNG"), _file(indexed, "PNG", transparency=3), _file(
            plain, "PNG", **frames)],
        "webp": [_file(plain, "WEBP"), _file(alpha, "WEBP", lossless=True), _file(plain, "WEBP", **frames)],
        "avif": [_file(plain, "AVIF"), _file(alpha, "AVIF"), _file(plain, "AVIF", **frames)],
        "gif": [_file(indexed, "GIF"), _file(indexed, "GIF", **frames)],
        "tiff": [_file(plain, "TIFF"), _file(plain, "TIFF", compression="tiff_lzw"), _file(
            grey, "TIFF", compression="tiff_adobe_deflate"), _file(alpha, "TIFF", compression="packbits")],
        "bmp": [_file(plain, "BMP"), _file(indexed, "BMP"), _file(grey.convert("1"), "BMP")],
        "heic": [_file(plain, "HEIF"), _file(alpha, "HEIF")],
        "jxl": [_file(plain, "JXL"), _file(alpha, "JXL", lossless=True)],
    }  # fmt: skip
    for name, endings in _ENDINGS.items():
        cases = [path for path in sorted((_TESTS / "cases").iterdir()) if path.suffix in endings]
        made[name] += [path.read_bytes() for path in cases if path.stat().st_size <= 64 * 1024]
    return {name: tuple(files) for name, files in made.items()}


_ENDINGS = {
    "jpeg": (".jpg",), "png": (".png",), "webp": (".webp",), "avif": (".avif",), "gif": (".gif",), "tiff": (".tif",),
    "bmp": (".bmp",), "heic": (".heic",),
}  # fmt: skip


def gradient(width: int, height: int) -> Image.Image:
    """A smooth picture with an edge and some noise, the same everywhere."""
    rows, columns = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(1).integers(0, 24, (height, width))
    samples = np.stack([columns * 231 // width, rows * 231 // height, 90 + 0 * rows], 2) + noise[:, :, None]
    samples[height // 5 : height // 2, width // 4 : width // 2] = (200, 40, 30)
    return Image.fromarray(samples.astype(np.uint8))


def _blocks(picture: Image.Image, width: int, height: int, blocks: int, level: int = 3) -> PixelCoarse:
    columns, rows = standard_grid(width, height, blocks)
    small = picture.resize((columns, rows), Image.Resampling.BOX)
    return PixelCoarse(columns, rows, level, bytes(value >> level for value in small.tobytes()))


def _file(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()
