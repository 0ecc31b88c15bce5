"""The pictures that the lite networks learn from, in memory, and random windows of them. Knows no network."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image

from codec.picture.open import open_picture

SUFFIXES = {".png", ".webp", ".jpg", ".jpeg"}


@dataclass(frozen=True)
class Window:
    """A square part of one picture, in pixels; `is_flipped` left to right."""

    picture: int
    top: int
    left: int
    edge: int
    is_flipped: bool


class Pictures:
    """Pictures as (3, H, W) uint8 tensors on one device; those with an edge below `least_px` are left out.

    A window is drawn with a chance that grows with the square root of its picture's pixels, so that large pictures
    show more of themselves and small ones are still seen.
    """

    def __init__(self, files: Sequence[Path], device: torch.device, least_px: int) -> None:
        opened = [(file, open_picture(file.read_bytes())) for file in files]
        kept = [(file, picture) for file, picture in opened if min(picture.size) >= least_px]
        self.files = [file for file, _ in kept]
        self.tensors = [as_tensor(picture).to(device) for _, picture in kept]
        self.device = device
        chances = np.sqrt([picture.width * picture.height for _, picture in kept])
        self._chances = chances / chances.sum()

    @classmethod
    def under(cls, folder: Path, device: torch.device, least_px: int) -> "Pictures":
        """All pictures of a folder, in the order of their names."""
        return cls(sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES), device, least_px)

    def draw(self, count: int, edge: int, random: np.random.Generator, most_zoom: float = 1.0) -> list[Window]:
        """Random windows to be seen at `edge` pixels, half of them up to `most_zoom` times as large where they fit."""
        windows = []
        for index in random.choice(len(self.tensors), size=count, p=self._chances):
            height, width = self.tensors[index].shape[1:]
            largest = min(most_zoom, min(height, width) / edge)
            size = int(edge * random.uniform(1.0, largest)) if random.random() < 0.5 else edge
            top, left = (int(random.integers(0, side - size + 1)) for side in (height, width))
            windows.append(Window(int(index), top, left, size, bool(random.random() < 0.5)))
        return windows

    def seen(self, windows: Sequence[Window], edge: int) -> torch.Tensor:
        """(B, 3, edge, edge) float32 in [0, 1]."""
        return torch.cat([cut(self.tensors[window.picture], window, edge) for window in windows])


def cut(picture: torch.Tensor, window: Window, edge: int) -> torch.Tensor:
    """A window of a (3, H, W) uint8 picture as (1, 3, edge, edge) float32 in [0, 1]."""
    part = picture[:, window.top : window.top + window.edge, window.left : window.left + window.edge]
    values = part[None].float() / 255
    if window.edge != edge:
        values = F.interpolate(values, size=(edge, edge), mode="bicubic", antialias=True).clamp(0, 1)
    return values.flip(3) if window.is_flipped else values


def as_tensor(picture: Image.Image) -> torch.Tensor:
    """(3, H, W) uint8."""
    return torch.from_numpy(np.asarray(picture).transpose(2, 0, 1).copy())


def captions_of(file: Path) -> dict[str, list[str]]:
    """People's captions by file name, from the set's `captions.json`; none where there is no such file."""
    if not file.is_file():
        return {}
    document = json.loads(file.read_text())
    return {str(name): [str(text) for text in texts] for name, texts in document.items()}
