"""What people's picture files become: upright 8-bit sRGB, or an error that says what is wrong."""

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from codec.errors import (
    PictureEmpty,
    PictureError,
    PictureTooLarge,
    PictureTruncated,
    PictureUnrecognised,
    PictureUnsupported,
)
from codec.picture.open import check_picture, open_picture
from codec.picture.scans import has_too_many_scans

SIZE = (40, 24)


def photo(size: tuple[int, int] = SIZE) -> Image.Image:
    """A smooth gradient with a red top-left corner, so that both colour and orientation can be seen."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    array = np.stack([40 + 3 * x % 120, 60 + 4 * y % 140, 90 + (x + y) % 60], axis=-1).astype(np.uint8)
    array[: height // 2, : width // 2] = (220, 20, 20)
    return Image.fromarray(array)


def encoded(picture: Image.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, format, **options)
    return out.getvalue()


def difference(left: Image.Image, right: Image.Image) -> float:
    assert left.size == right.size
    return float(np.abs(np.asarray(left, dtype=int) - np.asarray(right, dtype=int)).mean())


@pytest.mark.parametrize(
    ("format", "options", "media_type", "tolerance"),
    [
        ("PNG", {}, "image/png", 0),
        ("BMP", {}, "image/bmp", 0),
        ("TIFF", {}, "image/tiff", 0),
        ("TIFF", {"compression": "tiff_lzw"}, "image/tiff", 0),
        ("WEBP", {"lossless": True}, "image/webp", 0),
        ("WEBP", {"quality": 95}, "image/webp", 6),
        ("JPEG", {"quality": 95, "subsampling": 0}, "image/jpeg", 3),
        ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}, "image/jpeg", 3),
        ("AVIF", {"quality": 95, "subsampling": "4:4:4"}, "image/avif", 4),
        ("GIF", {}, "image/gif", 12),
        ("JXL", {"lossless": True}, "image/jxl", 0),
        ("HEIF", {"quality": 95}, "image/heic", 6),
    ],
)
def test_every_format_opens_to_the_same_picture(
    format: str, options: dict, media_type: str, tolerance: float, tmp_path: Path
) -> None:
    if format == "JXL":
        pytest.importorskip("pillow_jxl")
    if format == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    data = encoded(photo(), format, **options)
    opened = open_picture(data)
    assert opened.mode == "RGB"
    assert type(opened) is Image.Image and opened.info == {}
    assert difference(opened, photo()) <= tolerance
    path = tmp_path / "picture.dat"
    path.write_bytes(data)
    info = check_picture(path)
    assert (info.width, info.height, info.media_type) == (*SIZE, media_type)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_exif_orientation_is_applied(format: str, orientation: int, tmp_path: Path) -> None:
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = photo().transpose(turn[orientation]) if orientation in turn else photo()
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned"
    path.write_bytes(encoded(stored, format, exif=exif, quality=95))
    assert difference(open_picture(path), photo()) < 8
    info = check_picture(path)
    assert (info.width, info.height) == SIZE


def test_palette_grey_and_one_bit_pictures_become_rgb() -> None:
    for mode in ("P", "L", "1", "LA", "PA"):
        source = photo().convert("P").convert("PA") if mode == "PA" else photo().convert(mode)
        opened = open_picture(encoded(source, "TIFF" if mode == "PA" else "PNG"))
        assert difference(opened, source.convert("RGB")) == 0


def test_transparency_is_put_on_white() -> None:
    rgba = photo().convert("RGBA")
    rgba.putalpha(Image.new("L", SIZE, 0))
    for format in ("PNG", "WEBP", "AVIF"):
        assert difference(open_picture(encoded(rgba, format)), Image.new("RGB", SIZE, "white")) < 1
    half = Image.new("RGBA", SIZE, (0, 0, 0, 128))
    assert open_picture(encoded(half, "PNG")).getpixel((0, 0)) == (127, 127, 127)
    palette = Image.new("P", SIZE, 0)
    palette.putpalette([10, 20, 30] + [200] * 6)
    assert open_picture(encoded(palette, "GIF", transparency=0)).getpixel((3, 3)) == (255, 255, 255)


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    for format in ("PNG", "TIFF"):
        opened = np.asarray(open_picture(encoded(Image.fromarray(ramp), format)))[..., 0].ravel()
        assert np.array_equal(opened, np.arange(256))


def test_float_and_wide_integer_tiffs_are_scaled() -> None:
    ramp = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    opened = np.asarray(open_picture(encoded(Image.fromarray(ramp), "TIFF")))[..., 0].ravel()
    assert np.array_equal(opened, np.arange(256))
    wide = Image.fromarray((ramp * 65535).astype(np.int32))
    opened = np.asarray(open_picture(encoded(wide, "TIFF")))[..., 0].ravel()
    assert np.abs(opened.astype(int) - np.arange(256)).max() <= 1


def sixteen_bit_rgb_png() -> bytes:
    """Pillow does not write 16-bit colour PNG, so one is put together by hand: a ramp of 16 values in red."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    row = b"\0" + b"".join(struct.pack(">HHH", value * 4369, 0, 65535) for value in range(16))
    head = struct.pack(">IIBBBBB", 16, 1, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")


def test_sixteen_bit_colour_png_is_scaled() -> None:
    opened = np.asarray(open_picture(sixteen_bit_rgb_png()))[0]
    assert np.array_equal(opened[:, 0], np.arange(16) * 17)
    assert (opened[:, 2] == 255).all()


def test_cmyk_jpeg_and_tiff_come_out_in_the_right_polarity() -> None:
    cmyk = photo().convert("CMYK")
    assert difference(open_picture(encoded(cmyk, "TIFF")), photo()) < 2
    with_marker = encoded(cmyk, "JPEG", quality=95, subsampling=0)
    assert difference(open_picture(with_marker), photo()) < 4
    # Without Adobe's marker the samples mean what they say: the same bytes are then the negative.
    start = with_marker.index(b"\xff\xee")
    length = int.from_bytes(with_marker[start + 2 : start + 4], "big")
    without = with_marker[:start] + with_marker[start + 2 + length :]
    white_or_black = open_picture(without).convert("L")
    assert difference(white_or_black, open_picture(with_marker).convert("L")) > 40


def test_icc_profile_is_converted_and_a_broken_one_ignored() -> None:
    lab_like = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert difference(open_picture(encoded(photo(), "PNG", icc_profile=lab_like)), photo()) == 0
    assert difference(open_picture(encoded(photo(), "PNG", icc_profile=b"no profile at all")), photo()) == 0
    # Exchanging the red and the blue primary in the profile must exchange the channels of the picture.
    swapped = lab_like.replace(b"rXYZ", b"tXYZ").replace(b"bXYZ", b"rXYZ").replace(b"tXYZ", b"bXYZ")
    swapped = swapped.replace("sRGB".encode("utf-16-be"), "odd ".encode("utf-16-be"))
    opened = open_picture(encoded(photo(), "PNG", icc_profile=swapped))
    red, green, blue = photo().split()
    assert difference(opened, Image.merge("RGB", (blue, green, red))) < 3


def test_animations_give_their_first_frame() -> None:
    frames = [Image.new("RGB", SIZE, colour) for colour in ("red", "blue")]
    for format in ("GIF", "PNG", "WEBP"):
        data = encoded(frames[0], format, save_all=True, append_images=frames[1:], duration=50)
        assert difference(open_picture(data), frames[0]) < 2


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF", "GIF", "JXL"])
def test_truncation_anywhere_is_an_error_of_ours(format: str, tmp_path: Path) -> None:
    if format == "JXL":
        pytest.importorskip("pillow_jxl")
    noise = Image.fromarray(np.random.default_rng(5).integers(0, 255, (96, 96, 3), dtype=np.uint8))
    data = encoded(noise, format)
    path = tmp_path / "cut"
    for share in (0.02, 0.1, 0.3, 0.5, 0.8, 0.97):
        path.write_bytes(data[: max(1, int(len(data) * share))])
        for read in (open_picture, check_picture):
            with pytest.raises(PictureError):
                read(path)


def test_truncated_jpeg_is_called_truncated(tmp_path: Path) -> None:
    data = encoded(photo((300, 200)), "JPEG")
    for progressive in (False, True):
        data = encoded(photo((300, 200)), "JPEG", progressive=progressive)
        with pytest.raises(PictureTruncated, match="complete original"):
            open_picture(data[: len(data) // 2])


def test_empty_and_foreign_files_are_named_as_such() -> None:
    with pytest.raises(PictureEmpty, match="no bytes"):
        open_picture(b"")
    for foreign in (b"just a text named .jpg", b"%PDF-1.7 ...", b"%!PS-Adobe-3.0", b"v/1\x01\0\1", b"\0" * 200):
        with pytest.raises(PictureUnrecognised, match="Known formats"):
            open_picture(foreign)


def claiming_png(width: int, height: int) -> bytes:
    data = bytearray(encoded(Image.new("L", (4, 4)), "PNG"))
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def test_claims_are_checked_before_pixels_are_decoded() -> None:
    webp = bytearray(encoded(photo(), "WEBP", lossless=False, quality=50))
    webp[26:30] = struct.pack("<HH", 16383, 16383)
    for data in (claiming_png(60000, 60000), bytes(webp)):
        with pytest.raises(PictureTooLarge, match="Reduce"):
            open_picture(data)
    with pytest.raises(PictureTooLarge, match="65535"):
        open_picture(claiming_png(70000, 4))
    with pytest.raises(PictureTooLarge, match=r"0\.0005 million"):
        open_picture(encoded(photo(), "PNG"), max_pixels=500)


def test_jpeg_xl_claims_are_read_from_its_header() -> None:
    pytest.importorskip("pillow_jxl")
    for size in ((40, 24), (7, 3), (640, 480), (1000, 17), (300, 300)):
        for container in (False, True):
            data = encoded(photo(size), "JXL", use_container=container)
            with pytest.raises(PictureTooLarge, match=f"{size[0]}x{size[1]} "):
                open_picture(data, max_pixels=20)


def boxed(kind: bytes, content: bytes) -> bytes:
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def in_container(*boxes: bytes) -> bytes:
    return boxed(b"JXL ", b"\r\n\x87\n") + boxed(b"ftyp", b"jxl \0\0\0\0jxl ") + b"".join(boxes)


@pytest.mark.parametrize("hidden_by", ["a large box", "many boxes", "two parts", "parts of a byte"])
def test_jpeg_xl_claims_cannot_be_hidden(hidden_by: str) -> None:
    pytest.importorskip("pillow_jxl")
    bare = encoded(photo((640, 480)), "JXL", use_container=False)
    pieces = {
        "two parts": [bare[:2], bare[2:]],
        "parts of a byte": [bare[at : at + 1] for at in range(20)] + [bare[20:]],
    }
    parts = [boxed(b"jxlp", number.to_bytes(4, "big") + each) for number, each in enumerate(pieces.get(hidden_by, []))]
    before = {"a large box": [boxed(b"Exif", bytes(100_000))], "many boxes": [boxed(b"free", b"")] * 1000}
    data = in_container(*before.get(hidden_by, []), *(parts or [boxed(b"jxlc", bare)]))
    with pytest.raises(PictureTooLarge, match="640x480 "):
        open_picture(data, max_pixels=20)
    with pytest.raises(PictureTruncated, match="no picture in it"):
        open_picture(in_container(boxed(b"free", b"")))
    for first, last in ((b"free", b"jxlc"), (b"jxlc", b"jbrd")):
        with pytest.raises(PictureTruncated, match="4096 boxes"):
            open_picture(in_container(boxed(first, bare), *[boxed(b"free", b"")] * 5000, boxed(last, bare)))


def test_jpeg_inside_jpeg_xl_is_not_rebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens that JPEG would decode every scan that it has."""
    pytest.importorskip("pillow_jxl")
    jpeg = encoded(photo((64, 48)), "JPEG", quality=95, subsampling=0)
    (tmp_path / "a.jpg").write_bytes(jpeg)
    with Image.open(tmp_path / "a.jpg") as opened:
        data = encoded(opened, "JXL", lossless_jpeg=True, use_container=True)
    assert b"jbrd" in data
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("a reader outside of the list was asked"))
    assert difference(open_picture(data), open_picture(jpeg)) < 2


def test_webp_of_few_bytes_claims_its_size_too() -> None:
    head = b"RIFF\x12\0\0\0WEBPVP8L\x06\0\0\0\x2f"
    with pytest.raises(PictureTooLarge, match="16384x16384"):
        open_picture(head + b"\xff\xff\xff\x0f\0")


def test_grey_with_premultiplied_transparency_opens() -> None:
    samples = np.zeros((24, 40, 2), np.uint8)
    samples[:, :20] = (60, 255)
    entries = [
        (256, 3, 1, 40), (257, 3, 1, 24), (258, 3, 2, 8 | 8 << 16), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8),
        (277, 3, 1, 2), (278, 3, 1, 24), (279, 4, 1, samples.size), (338, 3, 1, 1),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    data = b"II*\0" + struct.pack("<I", 8 + samples.size) + samples.tobytes() + directory + bytes(4)
    assert Image.open(io.BytesIO(data)).mode == "La"
    picture = np.asarray(open_picture(data))
    assert (picture[:, :20] == 60).all() and (picture[:, 20:] == 255).all()


def test_picture_between_pillows_limit_and_ours_opens_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(PictureTruncated):
            open_picture(claiming_png(9990, 9990))


def test_smallest_picture_opens() -> None:
    for format in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        assert open_picture(encoded(Image.new("RGB", (1, 1), (9, 8, 7)), format)).size == (1, 1)


def with_scans(count: int) -> bytes:
    """A progressive JPEG of which one refining scan is repeated until there are `count`."""
    data = encoded(photo(), "JPEG", progressive=True)
    starts = [at for at in range(len(data) - 1) if data[at : at + 2] == b"\xff\xda"]
    last = data[starts[-1] : -2]
    return data[:-2] + last * (count - len(starts)) + data[-2:]


def test_jpeg_of_hundreds_of_scans_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(with_scans(201))
    for open_file in (lambda: check_picture(path), lambda: open_picture(path.read_bytes())):
        with pytest.raises(PictureTooLarge, match="200 scans"):
            open_file()
    path.write_bytes(with_scans(200))
    assert check_picture(path).width == SIZE[0]


@pytest.mark.parametrize(
    "gap", [b"\xff", b"\xff\x02\x00\x00", b"\xff\xd3", b"\0" * (256 * 1024 - 1), b"\xff\xe1\x00\x00"]
)
def test_scans_are_counted_behind_fill_bytes_and_broken_markers(gap: bytes) -> None:
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00data\xff\x00"
    assert has_too_many_scans(io.BytesIO(b"\xff\xd8" + (gap + scan) * 201 + b"\xff\xd9"))
    assert not has_too_many_scans(io.BytesIO(b"\xff\xd8" + (gap + scan) * 200 + b"\xff\xd9"))


def test_what_looks_like_scans_in_metadata_and_behind_the_picture_does_not_count() -> None:
    data = encoded(photo(), "JPEG", progressive=True)
    comment = b"\xff\xfe" + (2 + 2 * 3000).to_bytes(2, "big") + b"\xff\xda" * 3000
    assert difference(open_picture(data[:2] + comment + data[2:] + b"\xff\xda" * 100_000), photo()) < 6


@pytest.mark.parametrize(
    ("body", "is_read"),
    [
        (b"\x01\0\0\0\0\0\x10", True),  # sRGB by its number
        (b"\x01\0\0\0\0\0\x0c", False),  # CMYK by its number
        (b"\x05\0\0\0\x09\0\x10", False),  # code points, as of HDR
        (b"\x03\0\0" + bytes(16) + b"CMYK" + bytes(108), False),
        (b"\x03\0\0" + bytes(16) + b"RGB " + bytes(108), True),  # a profile that is none is passed over
    ],
)
def test_jpeg_2000_of_colours_that_are_not_followed_is_unsupported(body: bytes, is_read: bool) -> None:
    data = encoded(photo((64, 48)), "JPEG2000")
    at = data.index(b"colr") - 4
    length = int.from_bytes(data[at : at + 4], "big")
    header = data.index(b"jp2h") - 4
    grown = int.from_bytes(data[header : header + 4], "big") + 8 + len(body) - length
    changed = (
        data[:header] + grown.to_bytes(4, "big") + data[header + 4 : at] + boxed(b"colr", body) + data[at + length :]
    )
    if is_read:
        assert open_picture(changed).size == (64, 48)
    else:
        with pytest.raises(PictureUnsupported, match="other colours"):
            open_picture(changed)
