"""TIFF files beside the generated matrix (tests/integration/test_tiff_matrix.py): pages, previews, faxes, damage."""

import io
import struct
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from codec.errors import PictureError, PictureTooLarge, PictureTruncated, PictureUnsupported
from codec.picture.open import check_picture, open_picture, read_picture

PICTURE = np.add.outer(np.arange(24) * 5, np.arange(40) * 3).astype(np.uint8)


def tiff(entries: dict[int, tuple[int, list[int]]], data: bytes = b"", *, follow: bytes = b"") -> bytes:
    """A little-endian file of one page with these tags as (type, values); `data` begins at byte 8."""
    lists, table, at = b"", b"", 8 + len(data)
    for tag, (kind, values) in sorted(entries.items()):
        code = {1: "B", 3: "H", 4: "L", 7: "B"}[kind]
        packed = struct.pack(f"<{len(values)}{code}", *values)
        if len(packed) > 4:
            packed, lists = struct.pack("<L", at + len(lists)), lists + packed + bytes(len(packed) % 2)
        table += struct.pack("<HHL", tag, kind, len(values)) + packed.ljust(4, b"\0")
    directory = struct.pack("<H", len(entries)) + table + bytes(4)
    return b"II*\0" + struct.pack("<L", at + len(lists)) + data + lists + directory + follow


def grey_page(**changes: tuple[int, list[int]]) -> dict[int, tuple[int, list[int]]]:
    """The tags of PICTURE without compression, with changes given as tag_NUMBER."""
    height, width = PICTURE.shape
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: PICTURE.size}
    entries = {tag: (4, [value]) for tag, value in tags.items()}
    return entries | {int(name.removeprefix("tag_")): value for name, value in changes.items()}


def opened(data: bytes) -> np.ndarray:
    return np.asarray(open_picture(data))[..., 0]


def saved(picture: Image.Image, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, "TIFF", **options)
    return out.getvalue()


def test_further_pages_are_named_in_a_note() -> None:
    pages = [Image.fromarray(PICTURE + number) for number in range(3)]
    result = read_picture(saved(pages[0], save_all=True, append_images=pages[1:]))
    assert np.array_equal(np.asarray(result.picture)[..., 0], PICTURE)
    assert result.notes == ("The TIFF file has 3 pages; the first one is the picture, the others were left out.",)
    assert read_picture(saved(pages[0])).notes == ()


def test_a_thumbnail_before_the_picture_is_not_taken_for_it() -> None:
    thumbnail, picture = Image.new("L", (5, 3), 200), Image.fromarray(PICTURE)
    reduced = {254: 1}
    data = saved(thumbnail, save_all=True, append_images=[picture], tiffinfo=reduced)
    # Pillow writes the tag on both pages; only the first is one.
    first = data.index(struct.pack("<HHLL", 254, 4, 1, 1))
    second = data.index(struct.pack("<HHLL", 254, 4, 1, 1), first + 12)
    data = data[: second + 8] + bytes(4) + data[second + 12 :]
    assert np.array_equal(opened(data), PICTURE)
    assert read_picture(data).notes == ()


def test_a_raw_file_of_a_camera_is_refused_instead_of_shown_as_its_thumbnail() -> None:
    for changes in ({"tag_254": (4, [1]), "tag_330": (4, [8])}, {"tag_50706": (1, [1, 4, 0, 0])}):
        with pytest.raises(PictureUnsupported, match="raw"):
            open_picture(tiff(grey_page(**changes), PICTURE.tobytes()))
    with pytest.raises(PictureUnsupported, match="raw"):
        open_picture(tiff(grey_page(tag_262=(3, [32803])), PICTURE.tobytes()))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"tag_259": (3, [34712])}, "JPEG 2000"),
        ({"tag_259": (3, [50000])}, "Zstandard"),
        ({"tag_259": (3, [6])}, "old JPEG"),
        ({"tag_259": (3, [7]), "tag_258": (3, [12])}, "12 bits"),
        ({"tag_258": (3, [24])}, "24 bits"),
        ({"tag_266": (3, [2])}, "reversed"),
        ({"tag_339": (3, [5])}, "complex"),
        ({"tag_262": (3, [32845])}, "LogLuv"),
        ({"tag_277": (3, [200])}, "200 channels"),
    ],
)
def test_what_is_not_read_is_named_and_has_a_remedy(changes: dict, what: str) -> None:
    for read in (open_picture, check_picture):
        with pytest.raises(PictureUnsupported, match=what) as caught:
            read(tiff(grey_page(**changes), PICTURE.tobytes()))
        assert caught.value.code == "picture_unsupported" and "PNG" in str(caught.value)


def test_faxes_and_bits_are_read_in_both_polarities() -> None:
    bits = Image.fromarray(PICTURE > 100)
    for compression in (None, "group3", "group4", "tiff_lzw", "packbits"):
        assert np.array_equal(opened(saved(bits, compression=compression)) > 0, PICTURE > 100), compression
    packed = np.packbits(PICTURE > 100, axis=1).tobytes()
    whole = {"tag_258": (3, [1]), "tag_279": (4, [len(packed)])}
    assert np.array_equal(opened(tiff(grey_page(**whole), packed)) > 0, PICTURE > 100)
    assert np.array_equal(opened(tiff(grey_page(**whole, tag_262=(3, [0])), packed)) == 0, PICTURE > 100)


def test_four_bits_and_associated_transparency() -> None:
    nibbles = (PICTURE >> 4).reshape(-1, 2)
    packed = (nibbles[:, 0] << 4 | nibbles[:, 1]).tobytes()
    levels = opened(tiff(grey_page(tag_258=(3, [4])), packed))
    assert np.array_equal(levels, (PICTURE >> 4) * 17)
    half = np.full((*PICTURE.shape, 4), 64, np.uint8)
    half[..., 3] = 128
    entries = grey_page(tag_258=(3, [8] * 4), tag_262=(3, [2]), tag_277=(3, [4]), tag_279=(4, [half.size]))
    for kind, level in ((1, 191), (2, 159), (0, 64)):
        data = tiff(entries | {338: (3, [kind])}, half.tobytes())
        assert abs(int(opened(data)[0, 0]) - level) <= 1
    assert "channels" in read_picture(data).notes[0]


def test_lab_samples_keep_their_colours() -> None:
    grey = Image.merge("LAB", [Image.new("L", (40, 24), level) for level in (136, 128, 128)])
    assert np.abs(np.asarray(open_picture(saved(grey))).astype(int) - 128).max() <= 2


def test_sixteen_bits_that_hold_fewer_are_taken_for_what_they_hold_and_that_is_noted() -> None:
    wide = (PICTURE.astype(np.uint16) << 4).tobytes()
    entries = grey_page(tag_258=(3, [16]), tag_279=(4, [len(wide)]))
    result = read_picture(tiff(entries, wide))
    assert np.abs(np.asarray(result.picture)[..., 0].astype(int) - PICTURE).max() <= 1
    assert "12 bits" in result.notes[0]


@pytest.mark.parametrize("at", range(4, 400, 7))
def test_a_damaged_file_is_an_error_of_ours(at: int) -> None:
    data = bytearray(saved(Image.fromarray(PICTURE), compression="tiff_lzw"))
    data[at % len(data)] ^= 0xFF
    for cut in (bytes(data), bytes(data[:at])):
        with suppress(PictureError):
            open_picture(cut)


def test_sizes_are_checked_before_memory_is_taken() -> None:
    with pytest.raises(PictureTooLarge):
        open_picture(tiff(grey_page(tag_256=(4, [60000]), tag_257=(4, [60000])), PICTURE.tobytes()))
    tiles = {"tag_322": (4, [1 << 20]), "tag_323": (4, [1 << 20]), "tag_324": (4, [8]), "tag_325": (4, [960])}
    with pytest.raises(PictureTooLarge, match="tile"):
        open_picture(tiff(grey_page(**tiles), PICTURE.tobytes()))
    with pytest.raises(PictureTruncated):
        open_picture(tiff(grey_page(tag_273=(4, [8] * 3), tag_278=(4, [1])), PICTURE.tobytes()))


def test_a_fourth_channel_without_a_meaning_that_is_empty_is_no_transparency() -> None:
    pixels = np.full((*PICTURE.shape, 4), 64, np.uint8)
    pixels[..., 3] = 0
    entries = grey_page(tag_258=(3, [8] * 4), tag_262=(3, [2]), tag_277=(3, [4]), tag_279=(4, [pixels.size]))
    result = read_picture(tiff(entries, pixels.tobytes()))
    assert result.picture.getpixel((3, 3)) == (64, 64, 64) and "unused channel" in result.notes[0]
    declared = read_picture(tiff(entries | {338: (3, [2])}, pixels.tobytes()))
    assert declared.picture.getpixel((3, 3)) == (255, 255, 255) and "single colour" in declared.notes[0]


def test_float_samples_that_are_no_numbers_are_black_or_white_and_noted() -> None:
    tifffile = pytest.importorskip("tifffile")
    samples = np.full((8, 8, 3), 0.5, np.float32)
    samples[0, 0], samples[0, 1] = np.nan, np.inf
    file = io.BytesIO()
    tifffile.imwrite(file, samples, photometric="rgb", metadata=None)
    opened = read_picture(file.getvalue())
    assert np.asarray(opened.picture)[0, :3, 0].tolist() == [0, 255, 128]
    assert ["no numbers" in note for note in opened.notes] == [True]
