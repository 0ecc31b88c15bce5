"""Makes the files of this folder again: `python -m tests.cases.make`. Needs what the tests need."""

import io
import shutil
import struct
import subprocess
import tempfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
WIDTH, HEIGHT = 64, 48


def shown() -> np.ndarray:
    """(HEIGHT, WIDTH, 3) in [0, 1]: what every picture here shows unless its row in README.md says otherwise."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    picture = np.stack([x / (WIDTH - 1), y / (HEIGHT - 1), 0 * x + 90 / 255], axis=-1)
    picture[10:25, 15:35] = (200 / 255, 40 / 255, 30 / 255)
    return picture


def levels() -> np.ndarray:
    return np.round(shown() * 255).astype(np.uint8)


def linear() -> np.ndarray:
    sample = shown()
    return np.where(sample <= 0.04045, sample / 12.92, ((sample + 0.055) / 1.055) ** 2.4)


def to_primaries(light: np.ndarray, name: str) -> np.ndarray:
    """Linear sRGB as linear light in "p3" or "bt2020" (matrices of BT.2087 and of SMPTE EG 432-1)."""
    matrix = {
        "p3": [[0.8224621, 0.1775380, 0.0], [0.0331941, 0.9668058, 0.0], [0.0170827, 0.0723974, 0.9105199]],
        "bt2020": [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]],
        "adobe": [[0.7151627, 0.2848373, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0411705, 0.9588295]],
    }[name]
    return light @ np.array(matrix).T


def srgb_curve(light: np.ndarray) -> np.ndarray:
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def pq(nits: np.ndarray) -> np.ndarray:
    power = (np.clip(nits, 0, None) / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def hlg(light: np.ndarray) -> np.ndarray:
    """HLG samples of display light where 1 is 203 cd/m2, on a display of 1,000."""
    display = light * 0.203
    luma = display @ np.array([0.2627, 0.6780, 0.0593])
    scene = display * np.maximum(luma, 1e-9)[..., None] ** (1 / 1.2 - 1)
    return np.where(
        scene <= 1 / 12, np.sqrt(3 * scene), 0.17883277 * np.log(np.maximum(12 * scene, 1) - 0.28466892) + 0.55991073
    )


def chunk(kind: bytes, body: bytes, *, is_damaged: bool = False) -> bytes:
    checksum = zlib.crc32(kind + body) ^ (0xFFFF if is_damaged else 0)
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", checksum)


def png(samples: np.ndarray, *extra: bytes) -> bytes:
    """A PNG of 8 or 16 bits, grey (2 axes) or RGB, with chunks before its data."""
    height, width = samples.shape[:2]
    depth = 16 if samples.dtype == np.uint16 else 8
    header = struct.pack(">LLBBBBB", width, height, depth, 2 if samples.ndim == 3 else 0, 0, 0, 0)
    rows = samples.astype(samples.dtype.newbyteorder(">"))
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + b"".join(extra)
        + chunk(b"IDAT", zlib.compress(data, 9))
        + chunk(b"IEND", b"")
    )


def sixteen(samples: np.ndarray) -> np.ndarray:
    return np.round(np.clip(samples, 0, 1) * 65535).astype(np.uint16)


def bmp(pixels: np.ndarray, header: bytes) -> bytes:
    """A BMP of 32 bits from (HEIGHT, WIDTH, 4) in the order blue, green, red, fourth."""
    data = pixels[::-1].tobytes()
    start = 14 + len(header)
    return b"BM" + struct.pack("<LHHL", start + len(data), 0, 0, start) + header + data


def bmp_header(size: int) -> bytes:
    return struct.pack("<LllHHLLllLL", size, WIDTH, HEIGHT, 1, 32, 0 if size == 40 else 3, 0, 2835, 2835, 0, 0)


def saved(picture: Image.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, format, **options)
    return out.getvalue()


def files() -> dict[str, bytes]:
    """Every picture file by its name."""
    import tifffile
    from pillow_heif import from_bytes

    picture = Image.fromarray(levels())
    grey = np.round(shown().mean(axis=-1) * 65535).astype(np.uint16)
    made: dict[str, bytes] = {}

    def tiff(name: str, data: np.ndarray, **options: object) -> None:
        out = io.BytesIO()
        tifffile.imwrite(out, data, metadata=None, **options)
        made[name] = out.getvalue()

    tiff("grey16_minwhite.tif", 65535 - grey, photometric="miniswhite")
    tiff("rgb16_planar.tif", np.moveaxis(sixteen(shown()), -1, 0), photometric="rgb", planarconfig="separate")
    tiff("rgb_float32.tif", shown().astype(np.float32), photometric="rgb", compression="zlib")
    tiff("rgb_uint32.tif", np.round(shown() * 4294967295).astype(np.uint32), photometric="rgb", compression="zlib")
    tiff("grey_int16_negative.tif", (grey.astype(int) - 32768).astype(np.int16), photometric="minisblack")
    tiff("rgb_jpeg2000.tif", levels(), photometric="rgb", compression="jpeg2000")
    made["three_pages.tif"] = saved(
        picture, "TIFF", save_all=True, compression="tiff_lzw", append_images=[Image.new("L", (8, 8))] * 2
    )

    bgr = levels()[..., ::-1]
    opaque, unused = np.full((HEIGHT, WIDTH, 1), 255, np.uint8), np.zeros((HEIGHT, WIDTH, 1), np.uint8)
    masks = struct.pack("<4L", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    made["bmp32_alpha_zero.bmp"] = bmp(
        np.concatenate([bgr, unused], axis=-1), bmp_header(124)[:40] + masks + b"BGRs" + bytes(64)
    )
    ends = [0.64, 0.33, 0.03, 0.30, 0.60, 0.10, 0.15, 0.06, 0.79]
    calibrated = struct.pack("<L9l3L", 0, *(round(end * (1 << 30)) for end in ends), *[1 << 16] * 3)
    bright = np.round(linear() * 255).astype(np.uint8)[..., ::-1]
    made["bmp_v4_linear.bmp"] = bmp(np.concatenate([bright, opaque], axis=-1), bmp_header(108) + masks + calibrated)

    p3 = np.round(srgb_curve(to_primaries(linear(), "p3")) * 255).astype(np.uint8)
    wide = to_primaries(linear(), "bt2020")
    white, ends_p3 = (31270, 32900), (68000, 32000, 26500, 69000, 15000, 6000)
    made["png_cicp_p3.png"] = png(p3, chunk(b"cICP", bytes([12, 13, 0, 1])))
    made["png_cicp_pq.png"] = png(sixteen(pq(wide * 203)), chunk(b"cICP", bytes([9, 16, 0, 1])))
    made["png_16bit_bt2020.png"] = png(sixteen(srgb_curve(wide)), chunk(b"cICP", bytes([9, 13, 0, 1])))
    made["png_cicp_hlg.png"] = png(sixteen(hlg(wide)), chunk(b"cICP", bytes([9, 18, 0, 1])))
    made["png_chrm_p3.png"] = png(
        p3, chunk(b"gAMA", struct.pack(">L", 45455)), chunk(b"cHRM", struct.pack(">8L", *white, *ends_p3))
    )
    made["png_gama_linear.png"] = png(sixteen(linear()), chunk(b"gAMA", struct.pack(">L", 100_000)))
    noise = np.random.default_rng(13).integers(0, 256, 2_000, dtype=np.uint8).tobytes()
    text = b"Comment\0\0" + zlib.compress(noise + b"a picture " * 150_000)
    made["png_text_1500kb.png"] = png(levels(), chunk(b"zTXt", text))
    made["png_text_bad_checksum.png"] = png(levels(), chunk(b"tEXt", b"Comment\0hello", is_damaged=True))
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    made["png_profile_1500kb.png"] = png(levels(), chunk(b"iCCP", b"p\0\0" + zlib.compress(profile + bytes(1_500_000))))
    keyed = grey.copy()
    keyed[:12] = 12_345
    made["png_grey16_key.png"] = png(keyed, chunk(b"tRNS", struct.pack(">H", 12_345)))
    clear = picture.convert("RGBA")
    clear.putalpha(0)
    made["png_all_transparent.png"] = saved(clear, "PNG")
    blank = Image.new("RGB", picture.size)
    made["frames.gif"] = saved(picture, "GIF", save_all=True, append_images=[blank])
    made["frames.png"] = saved(picture, "PNG", save_all=True, append_images=[blank])
    made["frames.webp"] = saved(picture, "WEBP", save_all=True, append_images=[blank], lossless=True)
    made["frames.avif"] = saved(picture, "AVIF", save_all=True, append_images=[blank], quality=95, subsampling="4:4:4")

    made["avif_p3_nclx.avif"] = with_nclx(saved(Image.fromarray(p3), "AVIF", quality=100, subsampling="4:4:4"), 12, 13)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + ifd((0x8769, 4, 26)) + ifd((0xA001, 3, 0xFFFF), (0xA005, 4, 56))
    exif += ifd((1, 2, int.from_bytes(b"R03\0", "little")))
    adobe = np.clip(to_primaries(linear(), "adobe"), 0, 1) ** (1 / 2.2)
    made["jpeg_adobe_rgb_exif.jpg"] = saved(
        Image.fromarray(np.round(adobe * 255).astype(np.uint8)), "JPEG", quality=98, subsampling=0, exif=exif
    )
    heif = from_bytes("RGB;16", picture.size, sixteen(pq(wide * 203)).tobytes())
    out = io.BytesIO()
    heif.save(
        out,
        quality=95,
        chroma=444,
        save_nclx_profile=True,
        color_primaries=9,
        transfer_characteristics=16,
        matrix_coefficients=9,
        full_range_flag=1,
    )
    made["heic_10bit_pq.heic"] = out.getvalue()

    made["heic_pq_without_colr.heic"] = without_colr(made["heic_10bit_pq.heic"])
    made["avif_p3_without_colr.avif"] = without_colr(
        with_coded_colours(saved(Image.fromarray(p3), "AVIF", quality=100, subsampling="4:4:4"), 12, 13)
    )
    made["rgb16_linear_profile.tif"] = with_profile(sixteen(linear()), linear_profile())

    made["picture.jp2"] = saved(picture, "JPEG2000")
    made["picture.ppm"] = b"P6\n# 16 bits\n64 48\n65535\n" + sixteen(shown()).astype(">u2").tobytes()
    planes = b"".join(levels()[..., channel].tobytes() for channel in range(3))
    made["composite.psd"] = b"8BPS\0\1" + bytes(6) + struct.pack(">HLLHH", 3, HEIGHT, WIDTH, 8, 3) + bytes(14) + planes
    import imagecodecs

    def avif(samples: np.ndarray, bits: int, *numbers: int) -> bytes:
        names = dict(zip(("primaries", "transfer", "matrix"), numbers, strict=True))
        whole = np.round(np.clip(samples, 0, 1) * ((1 << bits) - 1)).astype(np.uint16)
        return bytes(imagecodecs.avif_encode(whole, level=100, bitspersample=bits, pixelformat=444, **names))

    made["avif_12bit_pq.avif"] = avif(pq(wide * 203), 12, 9, 16, 9)
    made["avif_12bit_hlg.avif"] = avif(hlg(wide), 12, 9, 18, 9)
    made["avif_10bit_p3.avif"] = avif(srgb_curve(to_primaries(linear(), "p3")), 10, 12, 13, 1)
    made["jxl_frames.jxl"] = imagecodecs.jpegxl_encode(np.stack([levels(), 255 - levels()]), lossless=True)
    made["jxl_16bit_linear.jxl"] = imagecodecs.jpegxl_encode(sixteen(linear()), lossless=True)
    made["jxl_float.jxl"] = imagecodecs.jpegxl_encode(linear().astype(np.float32), lossless=True)
    if shutil.which("cjxl"):
        made["jxl_16bit_pq.jxl"] = jxl(pq(wide * 203), "RGB_D65_202_Rel_PeQ")
        made["jxl_16bit_hlg.jxl"] = jxl(hlg(wide), "RGB_D65_202_Rel_HLG")
        made["jxl_16bit_p3.jxl"] = jxl(srgb_curve(to_primaries(linear(), "p3")), "RGB_D65_DCI_Rel_SRG")
    hdr_profile = pillow_profile(made.get("jxl_16bit_pq.jxl"))
    if hdr_profile is not None:
        compressed = chunk(b"iCCP", b"p\0\0" + zlib.compress(hdr_profile))
        made["png_profile_pq.png"] = png(sixteen(pq(wide * 203)), compressed)
    made["jpeg_12bit.jpg"] = imagecodecs.jpeg8_encode(np.round(shown() * 4095).astype(np.uint16), bitspersample=12)
    return made


PROMPT = "Red barn, old tractor, sky.\nA weathered barn\nA rusty tractor\nClouds at dusk\nA farm at dusk, calm."


def captions() -> dict[str, bytes]:
    """Every file of descriptions by its name."""
    import json
    import unicodedata

    def table(name: str, delimiter: str = ",", heading: str = "name{}prompt") -> str:
        return heading.format(delimiter) + f'\r\n{name}{delimiter}"{PROMPT}"\r\n'

    items = [("Red barn", "A weathered barn"), ("old tractor", "A rusty tractor"), ("sky", "Clouds at dusk")]
    entry = {"items": [{"name": name, "detail": detail} for name, detail in items], "overall": "A farm at dusk, calm."}
    lines = [{"file": "barn.jpg", **entry}, {"file_name": "sky.jpg", "text": "Only the sky."}]
    return {
        "cap_nfc.csv": table(unicodedata.normalize("NFC", "caf\u00e9.jpg")).encode(),
        "cap_nfd.csv": table(unicodedata.normalize("NFD", "caf\u00e9.jpg")).encode(),
        "cap_semicolon.csv": b"\xef\xbb\xbf" + table("BARN.JPG", ";").encode(),
        "cap_sep.csv": ("sep=;\r\n" + table("BARN.JPG", ";")).encode(),
        "cap_utf16.csv": table("BARN.JPG", "\t").encode("utf-16"),
        "cap_columns.csv": f'id,Prompt,author,Name\n7,"{PROMPT}",me,BARN.JPG\n'.encode(),
        "cap_lines.jsonl": "".join(json.dumps(line) + "\n" for line in lines).encode(),
        "cap_paths.csv": b"path,caption\none/a.jpg,First.\ntwo/a.jpg,Second.\n",
    }


def ifd(*entries: tuple[int, int, int]) -> bytes:
    """A little-endian directory of tags as (tag, type, value); values of type 2 are four characters."""
    table = b"".join(struct.pack("<HHLL", tag, kind, 4 if kind == 2 else 1, value) for tag, kind, value in entries)
    return struct.pack("<H", len(entries)) + table + bytes(4)


def with_nclx(file: bytes, primaries: int, transfer: int) -> bytes:
    """An AVIF file whose colr box says other primaries and another transfer."""
    at = file.index(b"nclx") + 4
    return file[:at] + struct.pack(">HH", primaries, transfer) + file[at + 4 :]


def without_colr(file: bytes) -> bytes:
    """An AVIF or HEIC file whose colr box is none that anybody knows."""
    return file.replace(b"colr", b"free")


def with_coded_colours(file: bytes, primaries: int, transfer: int) -> bytes:
    """A file of Pillow's libaom whose sequence header says other colours than those of sRGB (1, 13, 6)."""
    start = file.index(b"mdat") + 4
    bits = "".join(f"{byte:08b}" for byte in file[start : start + 32])
    at = bits.index(f"{1:08b}{13:08b}{6:08b}")
    changed = bits[:at] + f"{primaries:08b}{transfer:08b}" + bits[at + 16 :]
    return file[:start] + int(changed, 2).to_bytes(32, "big") + file[start + 32 :]


def linear_profile() -> bytes:
    """An ICC profile (version 2) of linear light in the primaries of sRGB, which names sRGB as such profiles do."""

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    text = b"Linear sRGB\0"
    # The primaries, adapted to D50 after Bradford.
    ends = ((0.4360747, 0.2225045, 0.0139322), (0.3850649, 0.7168786, 0.0971045), (0.1430804, 0.0606169, 0.7141733))
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(12 + 67 + 1),
        b"cprt": b"text" + bytes(4) + b"none\0\0\0\0",
        b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1, 0.8249),
        **{name + b"XYZ": b"XYZ " + bytes(4) + fixed(*end) for name, end in zip((b"r", b"g", b"b"), ends, strict=True)},
        **{name + b"TRC": b"curv" + bytes(4) + struct.pack(">IHH", 1, 256, 0) for name in (b"r", b"g", b"b")},
    }
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I4xI", start + len(body), 0x02400000) + b"mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28)
    return (head + fixed(0.9642, 1, 0.8249)).ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def with_profile(samples: np.ndarray, profile: bytes) -> bytes:
    """A TIFF file of these samples with an ICC profile."""
    import tifffile

    out = io.BytesIO()
    tifffile.imwrite(out, samples, photometric="rgb", iccprofile=profile)
    return out.getvalue()


def pillow_profile(file: bytes | None) -> bytes | None:
    """The ICC profile that libjxl makes of a file's colours."""
    from pillow_jxl.JpegXLImagePlugin import JXLImageFile

    return None if file is None else JXLImageFile(io.BytesIO(file)).info["icc_profile"]


def jxl(samples: np.ndarray, colour_space: str) -> bytes:
    """A JPEG XL file without loss, of 16 bits, whose header says a colour space as cjxl calls it."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "a.ppm", Path(folder) / "a.jxl"
        source.write_bytes(b"P6\n%d %d\n65535\n" % samples.shape[1::-1] + sixteen(samples).astype(">u2").tobytes())
        subprocess.run(["cjxl", source, target, "-d", "0", "-x", f"color_space={colour_space}"], check=True)
        return target.read_bytes()


def main() -> None:
    """Write all files."""
    for name, data in (files() | captions()).items():
        (HERE / name).write_bytes(data)


if __name__ == "__main__":
    main()
