"""Pairs of coarse and original windows for stage 1 of lite. The coarse pictures are made once and kept in a folder.

They have the reductions and qualities at which the encoder keeps pictures of 0.2 to 0.4 megapixels within 0.015 to
0.06 bits a pixel, and not those that these much smaller training pictures would need for as few bits.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from codec.picture.coded import read_coded, write_coded
from codec.picture.open import open_picture
from codec.picture.resize import enlarge_to, reduce_by
from training.pictures import SUFFIXES, as_tensor

FORMS = 4
"""Coarse forms of each picture, each of its own reduction and quality."""

_SETTINGS = ((2, 4, 26, 0.34), (3, 14, 38, 0.16), (4, 14, 34, 0.25), (4, 30, 50, 0.17), (2, 20, 45, 0.08))
"""Reduction, lowest and highest quality, share."""

_RARE = {"cloth": 0.35}
"""Pictures by the beginning of their names that are drawn less often than their size says: plain ones."""


class CoarsePairs:
    """Draws windows of pictures and of their coarse forms."""

    def __init__(self, folder: Path, cache: Path, edge: int, multiple_px: int) -> None:
        """Windows of `edge` pixels begin at multiples of `multiple_px`, as a whole picture does."""
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
        pictures = [(file, open_picture(file.read_bytes())) for file in files]
        self._originals = [picture for _, picture in pictures if min(picture.size) >= edge]
        self._files = [file for file, picture in pictures if min(picture.size) >= edge]
        self._cache, self._edge, self._multiple = cache, edge, multiple_px
        cache.mkdir(parents=True, exist_ok=True)
        chances = np.array([np.sqrt(picture.width * picture.height) for picture in self._originals])
        chances *= [_RARE.get(file.name.split("_")[0], 1.0) for file in self._files]
        self._chances = chances / chances.sum()

    def draw(self, count: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Coarse and original windows, (B, 3, edge, edge) float32 in [0, 1]."""
        pairs = [self._pair(int(index), random) for index in random.choice(len(self._files), count, p=self._chances)]
        return torch.stack([coarse for coarse, _ in pairs]), torch.stack([original for _, original in pairs])

    def _pair(self, index: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        original = self._originals[index]
        coarse = self._coarse(index, int(random.integers(FORMS)))
        places = [
            self._multiple * int(random.integers((side - self._edge) // self._multiple + 1)) for side in original.size
        ]
        box = (places[0], places[1], places[0] + self._edge, places[1] + self._edge)
        windows = [as_tensor(picture.crop(box)).float() / 255 for picture in (coarse, original)]
        if random.random() < 0.5:
            windows = [window.flip(2) for window in windows]
        return windows[0], windows[1]

    def _coarse(self, index: int, form: int) -> Image.Image:
        """The coarse picture at its full size."""
        original = self._originals[index]
        scale, quality = _setting(np.random.default_rng((index, form)))
        file = self._cache / f"{self._files[index].stem}-{scale}-{quality}.avif"
        if not file.is_file():
            part = file.with_suffix(".part")
            # The encoder's quick setting; its thorough one takes four times as long and looks the same.
            part.write_bytes(write_coded("avif", reduce_by(original, scale), quality, thorough=False))
            part.replace(file)
        size = (-(-original.width // scale), -(-original.height // scale))
        return enlarge_to(read_coded("avif", file.read_bytes(), *size), *original.size)


def _setting(random: np.random.Generator) -> tuple[int, int]:
    shares: Sequence[float] = [share for *_, share in _SETTINGS]
    scale, lowest, highest, _ = _SETTINGS[random.choice(len(_SETTINGS), p=shares)]
    return scale, int(random.integers(lowest, highest + 1))
