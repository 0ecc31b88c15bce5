"""Pictures to look at: original, AVIF of the same bytes and ours, side by side at full size. The figures are elsewhere.

    python -m bench.sheet --out docs/lite/sheet.webp FILE:LEFT,TOP [FILE:LEFT,TOP ...]

AVIF is the one that comes closest by LPIPS over AlexNet (MISC_LPIPS_WEIGHTS) within our whole file's bytes.
"""

import argparse
import tempfile
from pathlib import Path

from PIL import Image

from bench.quality_picture import Plan, comparison_of
from codec.metrics.compare import ORIGINAL, OURS, Comparison, compare_picture
from codec.picture.open import open_picture

_WINDOW_PX = (300, 240)
_COLUMNS = 2
_GAP_PX = 4
_SHOWN = (ORIGINAL, "avif", OURS)
_QUALITY = 88


def strip_of(source: Path, left: int, top: int, rate: int, comparison: Comparison) -> Image.Image:
    """The same window of the original, of AVIF and of ours."""
    windows: dict[str, Image.Image] = {}

    def keep(codec: str, at: int, picture: Image.Image) -> None:
        if at in (0, rate):
            windows[codec] = picture.crop((left, top, left + _WINDOW_PX[0], top + _WINDOW_PX[1]))

    compare_picture(open_picture(source), source.name, comparison, source_name=source.name, keep=keep)
    return _beside([windows[codec] for codec in _SHOWN])


def _beside(pictures: list[Image.Image]) -> Image.Image:
    width = sum(picture.width + _GAP_PX for picture in pictures) - _GAP_PX
    row = Image.new("RGB", (width, pictures[0].height), "white")
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width + _GAP_PX
    return row


def sheet_of(strips: list[Image.Image]) -> Image.Image:
    """All strips, two in a row."""
    rows = [_beside(strips[first : first + _COLUMNS]) for first in range(0, len(strips), _COLUMNS)]
    sheet = Image.new("RGB", (rows[0].width, sum(row.height + _GAP_PX for row in rows) - _GAP_PX), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height + _GAP_PX
    return sheet


def main() -> None:
    """Encode, decode, compare, paste."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("windows", nargs="+", metavar="FILE:LEFT,TOP")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--rate", type=int, default=3, choices=(1, 2, 3), help="0.02, 0.03 or 0.05 bpp")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "misc-quality", metavar="DIR")
    parser.add_argument("--perceptual", type=Path, metavar="FILE", help="weights of LPIPS")
    asked = parser.parse_args()
    plan = Plan(
        profile="lite", mode=None, restorer=None, peers=("avif",), text_rates=(), captions=None, cache=asked.cache,
        sqz=None, perceptual=asked.perceptual, is_quick=True, processes=1,
    )  # fmt: skip
    whole = comparison_of(plan)
    comparison = Comparison(
        own=whole.own,
        settings=tuple(setting for setting in whole.settings if setting.rate == asked.rate),
        metrics=whole.metrics,
        peers=whole.peers,
        captions=None,
        trials=whole.trials,
    )
    strips = []
    for window in asked.windows:
        file, _, place = window.rpartition(":")
        left, top = (int(each) for each in place.split(","))
        strips.append(strip_of(Path(file), left, top, asked.rate, comparison))
        print(file, flush=True)
    sheet_of(strips).save(asked.out, quality=_QUALITY, method=6)


if __name__ == "__main__":
    main()
