"""TIFF in every combination that a generator can write: the right picture or a refusal, never another picture."""

import io
import itertools
import struct

import numpy as np
import pytest

from codec.errors import PictureUnsupported
from codec.picture.open import open_picture

tifffile = pytest.importorskip("tifffile")
pytest.importorskip("imagecodecs")

WIDTH, HEIGHT = 72, 56
NO_PREDICTOR = (None, "packbits", "jpeg")


def colours() -> np.ndarray:
    """(HEIGHT, WIDTH, 3) in [0, 1]: red rises to the right, green downwards, and a rectangle shows orientation."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    picture = np.stack([x / (WIDTH - 1), y / (HEIGHT - 1), 0 * x + 90 / 255], axis=-1)
    picture[10:30, 20:40] = (200 / 255, 40 / 255, 30 / 255)
    return picture


def grey() -> np.ndarray:
    return colours().mean(axis=-1)


SAMPLE_KINDS = {
    "8 bits": lambda a: np.round(a * 255).astype(np.uint8),
    "12 bits": lambda a: np.round(a * 4095).astype(np.uint16),
    "12 bits in 16, by tag": lambda a: np.round(a * 4095).astype(np.uint16),
    "12 bits in 16": lambda a: np.round(a * 4095).astype(np.uint16),
    "12 bits in 16, declared": lambda a: np.round(a * 4095).astype(np.uint16),
    "16 bits": lambda a: np.round(a * 65535).astype(np.uint16),
    "32 bits": lambda a: np.round(a * 4294967295.0).astype(np.uint32),
    "signed 8": lambda a: np.round(a * 127).astype(np.int8),
    "signed 16": lambda a: np.round(a * 32767).astype(np.int16),
    "signed 16 around 0": lambda a: np.round(a * 65535 - 32768).astype(np.int16),
    "signed 32": lambda a: np.round(a * 2147483647.0).astype(np.int32),
    "float 16": lambda a: a.astype(np.float16),
    "float 32": lambda a: a.astype(np.float32),
    "float 64": lambda a: a.astype(np.float64),
}
COLOUR_KINDS = ("grey", "white is zero", "rgb", "rgb and alpha", "palette", "cmyk")
REFUSED = "refused"


def written(kind: str, colour: str, order: str, **options: object) -> tuple[bytes, np.ndarray] | None:
    """A file of that kind and the picture that it shows (height, width, 3) in levels; None where the generator has
    no such thing."""
    sample = SAMPLE_KINDS[kind]
    shown = np.repeat(grey()[..., None], 3, axis=-1) if colour in ("grey", "white is zero") else colours()
    words: dict[str, object] = {"metadata": None, "byteorder": order, **options}
    if kind == "12 bits in 16, declared":
        words["extratags"] = [(281, "H", 1, 4095, True)]
    if colour == "grey":
        data, words["photometric"] = sample(grey()), "minisblack"
    elif colour == "white is zero":
        data, words["photometric"] = sample(1 - grey()), "miniswhite"
    elif colour == "rgb":
        data, words["photometric"] = sample(colours()), "rgb"
    elif colour == "rgb and alpha":
        alpha = np.ones((HEIGHT, WIDTH, 1))
        alpha[:8] = 0
        data = sample(np.concatenate([colours(), alpha], axis=-1))
        words |= {"photometric": "rgb", "extrasamples": ["unassalpha"]}
        shown = shown.copy()
        shown[:8] = 1
    elif colour == "cmyk":
        data = sample(np.concatenate([1 - colours(), np.zeros((HEIGHT, WIDTH, 1))], axis=-1))
        words["photometric"] = "separated"
    else:
        if kind != "8 bits":
            return None
        levels = np.round(grey() * 255).astype(np.uint8)
        words |= {
            "photometric": "palette",
            "colormap": np.stack([np.arange(256) * 257, np.arange(256)[::-1] * 257, np.zeros(256)]).astype(np.uint16),
        }
        data, shown = levels, np.stack([levels, 255 - levels, 0 * levels], axis=-1) / 255
    if words.get("planarconfig") == "separate":
        if data.ndim == 2 or kind == "12 bits":
            return None
        data = np.moveaxis(data, -1, 0)
    is_packed = kind == "12 bits"
    if is_packed:
        if "predictor" in words or "tile" in words or words["compression"] == "jpeg":
            return None
        data, words = packed_twelve(data, words)
    out = io.BytesIO()
    try:
        tifffile.imwrite(out, data, **words)
    except (ValueError, TypeError, RuntimeError, NotImplementedError, KeyError):
        return None
    file = out.getvalue()
    if is_packed:
        channels = 1 if colour in ("grey", "white is zero") else 4 if colour in ("cmyk", "rgb and alpha") else 3
        photometric = {"grey": 1, "white is zero": 0, "cmyk": 5}.get(colour, 2)
        extra = {258: [12] * channels, 256: [WIDTH], 277: [channels], 262: [photometric]}
        extra |= {338: [2]} if colour == "rgb and alpha" else {}
        file = with_tags(file, order, extra)
    elif kind == "12 bits in 16, by tag":
        file = with_tags(file, order, {258: [12] * (1 if data.ndim == 2 else min(data.shape[0], data.shape[-1]))})
    return file, shown * 255


def packed_twelve(data: np.ndarray, words: dict[str, object]) -> tuple[np.ndarray, dict[str, object]]:
    """Samples of 12 bits without gaps, as a grey picture of bytes whose tags are to be corrected."""
    rows = data.reshape(HEIGHT, -1)
    bits = (rows[..., None] >> np.arange(11, -1, -1)) & 1
    kept = {name: words[name] for name in ("metadata", "byteorder", "compression", "rowsperstrip") if name in words}
    return np.packbits(bits.reshape(HEIGHT, -1).astype(np.uint8), axis=-1), kept | {"photometric": "minisblack"}


def with_tags(file: bytes, order: str, tags: dict[int, list[int]]) -> bytes:
    """The file with a new directory at its end, in which these tags (SHORT) have other values."""
    (start,) = struct.unpack(order + "L", file[4:8])
    (count,) = struct.unpack(order + "H", file[start : start + 2])
    entries = {}
    for at in range(start + 2, start + 2 + 12 * count, 12):
        (tag,) = struct.unpack(order + "H", file[at : at + 2])
        entries[tag] = file[at : at + 12]
    end = len(file) + len(file) % 2
    lists = b""
    for tag, values in tags.items():
        packed = struct.pack(f"{order}{len(values)}H", *values)
        if len(packed) > 4:
            packed, lists = struct.pack(order + "L", end + len(lists)), lists + packed
        entries[tag] = struct.pack(order + "HHL", tag, 3, len(values)) + packed.ljust(4, b"\0")
    table = b"".join(entries[tag] for tag in sorted(entries))
    directory = struct.pack(order + "H", len(entries)) + table + bytes(4)
    return file[:4] + struct.pack(order + "L", end + len(lists)) + file[8:].ljust(end - 8, b"\0") + lists + directory


@pytest.mark.parametrize("colour", COLOUR_KINDS)
@pytest.mark.parametrize("kind", list(SAMPLE_KINDS))
def test_every_combination_is_right_within_three_levels_or_refused_as_unsupported(kind: str, colour: str) -> None:
    outcomes = []
    for compression, predictor, shape, planar, order in itertools.product(
        (None, "lzw", "zlib", "packbits", "jpeg"),
        (False, True),
        ({}, {"rowsperstrip": 5}, {"tile": (32, 16)}),
        ("contig", "separate"),
        "<>",
    ):
        words = {"compression": compression, "planarconfig": planar, **shape}
        if predictor:
            if compression in NO_PREDICTOR:
                continue
            words["predictor"] = True
        if compression == "jpeg":
            words |= {"compressionargs": {"level": 100}, "subsampling": (1, 1)}
        file = written(kind, colour, order, **words)
        if file is None:
            continue
        data, shown = file
        try:
            opened = np.asarray(open_picture(data), dtype=float)
        except PictureUnsupported as error:
            assert "Convert it to PNG" in str(error)
            outcomes.append(REFUSED)
            continue
        worst = np.abs(opened - shown).max()
        assert worst <= (5 if compression == "jpeg" else 3), (kind, colour, words, order, worst)
        outcomes.append("right")
    if kind == "signed 16 around 0" or (kind.startswith(("signed", "float")) and colour in ("white is zero", "cmyk")):
        assert "right" not in outcomes
    elif kind == "12 bits in 16" and colour == "white is zero":
        assert "right" not in outcomes, "nothing tells what black is"
    elif colour != "palette" or kind == "8 bits":
        assert len(outcomes) > 4 and outcomes.count("right") >= len(outcomes) / 2, outcomes
