"""Bits a sample of the pixel coder against lossless picture formats, on thumbnails of a folder of pictures.

    python -m bench.pixels DIR [--blocks 32] [--level 3] [--json FILE]

Every coder gets the same quantised thumbnails; the others are given them both as values of 5 bits and as 8-bit
colours, and the smaller file counts, headers included.
"""

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from codec.bitstream.pixels.payload import decode_pixels, encode_pixels, standard_grid
from codec.bitstream.stream import PixelCoarse

_SUFFIXES = {".jpeg", ".jpg", ".png", ".webp"}


def _saved(picture: Image.Image, kind: str, **options: object) -> int:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return len(file.getvalue())


def _others() -> dict[str, Callable[[Image.Image], int]]:
    others: dict[str, Callable[[Image.Image], int]] = {
        "PNG, optimised": lambda picture: _saved(picture, "PNG", optimize=True),
        "WebP lossless": lambda picture: _saved(picture, "WEBP", lossless=True, quality=100, method=6),
    }
    try:
        import pillow_jxl  # noqa: F401  (registers the format with the imaging library)
    except ImportError:
        return others
    others["JPEG XL lossless"] = lambda picture: _saved(picture, "JXL", lossless=True, effort=9)
    return others


def measure(folder: Path, blocks: int, level: int) -> list[dict[str, object]]:
    """One row a coder: median and mean bits a sample, share of the fixed length, seconds each way."""
    bits: dict[str, list[float]] = {}
    encode_seconds, decode_seconds = [], []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in _SUFFIXES:
            continue
        with Image.open(path) as file:
            picture = file.convert("RGB")
        columns, rows = standard_grid(*picture.size, blocks)
        values = np.asarray(picture.resize((columns, rows), Image.Resampling.BOX)) >> level
        coarse = PixelCoarse(columns, rows, level, values.tobytes())
        started = time.perf_counter()
        payload = encode_pixels(coarse, *picture.size)
        encode_seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
        if decode_pixels(payload, *picture.size) != coarse:
            raise SystemExit(f"{path}: the pixel coder did not give the thumbnail back")
        decode_seconds.append(time.perf_counter() - started)
        bits.setdefault("misc pixel", []).append(8 * len(payload) / values.size)
        forms = [Image.fromarray(values), Image.fromarray(values << level)]
        for name, size in _others().items():
            bits.setdefault(name, []).append(8 * min(map(size, forms)) / values.size)
    if not bits:
        raise SystemExit(f"{folder} has no pictures")
    fixed = 8 - level
    rows_out: list[dict[str, object]] = []
    for name, every in bits.items():
        median = statistics.median(every)
        row: dict[str, object] = {
            "coder": name,
            "median_bits_a_sample": round(median, 4),
            "mean_bits_a_sample": round(statistics.fmean(every), 4),
            "median_share_of_fixed_length": round(median / fixed, 4),
        }
        if name == "misc pixel":
            row["encode_seconds"] = round(statistics.fmean(encode_seconds), 3)
            row["decode_seconds"] = round(statistics.fmean(decode_seconds), 3)
        rows_out.append(row)
    return rows_out


def main() -> None:
    """Print the table; write it as JSON too when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--blocks", type=int, default=32)
    parser.add_argument("--level", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    table = measure(arguments.folder, arguments.blocks, arguments.level)
    print(f"{'coder':18} {'median':>8} {'mean':>8} {'of fixed':>9} {'encode s':>9} {'decode s':>9}")
    for row in table:
        seconds = [f"{row[key]:9.3f}" if key in row else " " * 9 for key in ("encode_seconds", "decode_seconds")]
        print(
            f"{row['coder']:18} {row['median_bits_a_sample']:8.3f} {row['mean_bits_a_sample']:8.3f} "
            f"{row['median_share_of_fixed_length']:9.1%} {' '.join(seconds)}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
