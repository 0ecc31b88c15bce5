"""Pictures to look at: original, AVIF of the same bytes and ours, side by side at full size. The figures are elsewhere.

    python -m bench.sheet --out docs/lite/sheet.webp FILE:LEFT,TOP [FILE:LEFT,TOP ...]

AVIF is at the scale and quality that come closest by LPIPS over AlexNet within our whole file's bytes, in the encoder's
own tune; `bench.quality` searches further. Files are kept in `--cache`: networks change more often than they do.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from PIL import Image

from cli.local.networks import restorers
from cli.local.paths import weights_store
from codec.bitstream.container import unpack
from codec.metrics.metric import View
from codec.metrics.own import OwnCodec, Setting, settings_of
from codec.metrics.registry import Metrics, load_metrics
from codec.options import Profile
from codec.picture.coded import read_coded, write_coded
from codec.picture.open import open_picture
from codec.picture.resize import enlarge_to, reduce_by

_WINDOW_PX = (300, 240)
_COLUMNS = 2
_GAP_PX = 4
_QUALITY = 88
_SCALES = (2, 3, 4)
"""AVIF at full size never wins within so few bytes."""

_SHOWN = ("lpips-alex", "sqz-dist", "psnr-rgb", "haarpsi", "weave")


def strip_of(
    source: Path, left: int, top: int, own: OwnCodec, setting: Setting, metrics: Metrics, cache: Path
) -> Image.Image:
    """The same window of the original, of AVIF and of ours; prints both pictures' figures."""
    picture = open_picture(source)
    ours = cache / f"{source.stem}-{setting.rate}.misc"
    if not ours.is_file():
        ours.write_bytes(own.encode(picture, setting, source_name=source.name).data)
    original = View(picture)
    peer = _avif(original, ours.stat().st_size, metrics, cache / f"{source.stem}-{setting.rate}.png")
    restored = own.decode(ours.read_bytes(), setting.decode).picture
    bpp = 8 * ours.stat().st_size / (picture.width * picture.height)
    print(f"{source.name} {bpp:.4f} bpp, reduced by {getattr(unpack(ours.read_bytes()).stream.coarse, 'scale', 1)}")
    for name, each in (("avif", peer), ("ours", restored)):
        values = metrics.measure(original, each).values
        print(f"  {name} " + " ".join(f"{key} {values[key]:.3f}" for key in _SHOWN if values.get(key) is not None))
    box = (left, top, left + _WINDOW_PX[0], top + _WINDOW_PX[1])
    return _beside([each.crop(box) for each in (picture, peer, restored)])


def _avif(original: View, limit_bytes: int, metrics: Metrics, kept: Path) -> Image.Image:
    if not kept.is_file():
        judge = metrics.judge(original)
        pictures = [_avif_at(original.picture, scale, limit_bytes) for scale in _SCALES]
        min((each for each in pictures if each is not None), key=judge.loss).save(kept)
    return open_picture(kept)


def _avif_at(picture: Image.Image, scale: int, limit_bytes: int) -> Image.Image | None:
    """The picture through the best AVIF at this scale within the bytes; None where none fits."""
    reduced, best = reduce_by(picture, scale), b""
    low, high = 0, 100
    while low <= high:
        middle = (low + high) // 2
        file = write_coded("avif", reduced, middle, thorough=True)
        if len(file) <= limit_bytes:
            best, low = file, middle + 1
        else:
            high = middle - 1
    return enlarge_to(read_coded("avif", best, *reduced.size), *picture.size) if best else None


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
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "misc-sheet", metavar="DIR")
    parser.add_argument("--perceptual", type=Path, metavar="FILE", help="weights of LPIPS")
    parser.add_argument("--sqz", type=Path, metavar="FILE", help="weights of sqz-dist")
    arguments = parser.parse_args()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    own = OwnCodec(weights_store(), restorers())
    setting = next(each for each in settings_of(weights_store(), profile=Profile.LITE) if each.rate == arguments.rate)
    metrics = load_metrics(arguments.sqz, arguments.perceptual).quick()
    strips = []
    for window in arguments.windows:
        file, _, place = window.rpartition(":")
        left, top = (int(each) for each in place.split(","))
        strips.append(strip_of(Path(file), left, top, own, setting, metrics, arguments.cache))
        sys.stdout.flush()
    sheet_of(strips).save(arguments.out, quality=_QUALITY, method=6)


if __name__ == "__main__":
    main()
