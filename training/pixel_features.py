"""What the pixel networks see, for whole thumbnails at once, and the thumbnails they are trained on.

The numbers must be those that codec/bitstream/pixels/inputs.py gives the networks; a test compares the two.
"""

import random
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from codec.bitstream.pixels.payload import standard_grid

NEIGHBOURS = ((-1, 0), (0, -1), (-1, -1), (1, -1), (-2, 0), (0, -2), (1, -2), (-1, -2), (2, -1), (-2, -1))
"""Columns and rows from the block to its neighbours, as in the codec."""

_SUFFIXES = {".jpeg", ".jpg", ".png", ".webp"}


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder in a fixed order."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)


Array = npt.NDArray[Any]


def thumbnail(picture: Image.Image, blocks: int) -> Array:
    """Block averages of the standard grid, (rows, columns, 3) uint8."""
    grid = standard_grid(*picture.size, blocks)
    return np.asarray(picture.convert("RGB").resize(grid, Image.Resampling.BOX))


def training_thumbnails(folder: Path, crops: int, seed: int = 1) -> list[Array]:
    """Every picture whole at 32 blocks, and `crops` random cuts of it at 20 to 64 blocks."""
    rng = random.Random(seed)
    thumbnails = []
    for path in pictures_in(folder):
        with Image.open(path) as file:
            picture = file.convert("RGB")
        thumbnails.append(thumbnail(picture, 32))
        width, height = picture.size
        for _ in range(crops):
            share = rng.uniform(0.55, 1)
            shape = rng.choice((1.5, 1.5, 1.33, 1.0, 0.75, 0.67))
            cut_width = min(width, int(max(width, height) * share))
            cut_height = min(height, int(cut_width / shape))
            cut_width = min(cut_width, max(1, int(cut_height * shape)))
            left, top = rng.randint(0, width - cut_width), rng.randint(0, height - cut_height)
            blocks = rng.choice((20, 26, 32, 32, 32, 40, 48, 64))
            cut = picture.crop((left, top, left + cut_width, top + cut_height))
            thumbnails.append(thumbnail(cut, blocks))
    return thumbnails


def features(samples: Array, level: int) -> tuple[list[Array], Array, Array]:
    """Inputs of the three networks for every block of a thumbnail.

    `samples`: (rows, columns, 3) R, G, B >> level. Returns three (blocks, 53 + channel) integer arrays in the
    codec's order, the middles (blocks, 3) and the samples (blocks, 3), both as G, R, B.
    """
    samples = samples[:, :, [1, 0, 2]].astype(np.int64)
    rows, columns, _ = samples.shape
    values = (samples << level) + ((1 << level) >> 1)
    around = _around(values, 128)
    west, north, north_west, north_east = around[:4]
    middle = (west + north) >> 1
    gradient = np.clip((3 * (west + north) - 2 * north_west + 2) >> 2, 0, 255)
    error = np.abs(values - gradient)
    errors_around = _around(error, 8)
    # Neighbours come channel by channel: all ten of green, then of red, then of blue.
    steps_around = (np.stack(around) - middle).transpose(1, 2, 3, 0).reshape(rows, columns, -1)
    change = np.abs(west - north_west) + np.abs(north - north_west) + np.abs(north - north_east)
    step = values - middle
    against_green = np.abs(step[:, :, 1:] - step[:, :, :1])
    so_far = np.concatenate([error, against_green], 2).reshape(-1, 5)
    so_far = np.cumsum(so_far, 0) - so_far
    counts = np.arange(rows * columns)[:, None]
    overall = log16(1 + (16 * so_far + 512) // (counts + 4)) - 80
    y, x = np.mgrid[:rows, :columns]
    place = [
        32 * (x == 0),
        32 * (x == 1),
        32 * (x == columns - 1),
        32 * (y == 0),
        32 * (y == 1),
        y * 64 // rows - 32,
        x * 64 // columns - 32,
        np.full((rows, columns), 16 * (level - 3)),
        np.full((rows, columns), int(log16(np.array(max(columns, rows)))) - 80),
    ]
    base = np.concatenate(
        [
            steps_around,
            (middle - 128) >> 1,
            log16(1 + change) - 48,
            log16(1 + np.sum(errors_around[:4], axis=0)) - 48,
            overall.reshape(rows, columns, 5),
            np.stack(place, 2),
        ],
        2,
    ).reshape(rows * columns, -1)
    step = step.reshape(-1, 3)
    inputs = [np.concatenate([base, step[:, :channel]], 1) for channel in range(3)]
    return inputs, middle.reshape(-1, 3), samples.reshape(-1, 3)


def log16(values: Array) -> Array:
    """As the codec's log16, for arrays."""
    values = np.asarray(values, np.int64)
    whole = np.frexp(values.astype(np.float64))[1] - 1
    return 16 * whole + (((values << 4) >> whole) & 15)


def _around(canvas: Array, first: int) -> list[Array]:
    """The neighbours of every block, (rows, columns, 3) each, with the codec's rules outside the picture."""
    rows, columns, planes = canvas.shape
    padded = np.zeros((rows + 2, columns + 4, planes), np.int64)
    padded[2:, 2:-2] = canvas
    padded[2:, :2], padded[2:, -2:] = canvas[:, :1], canvas[:, -1:]
    padded[0] = padded[1] = padded[2]
    west_of_first_row = np.concatenate([np.full((1, planes), first), canvas[0, :-1]])
    start_of_row_above = np.concatenate([np.full((1, planes), first), canvas[:-1, 0]])
    neighbours = []
    for dx, dy in NEIGHBOURS:
        neighbour = padded[2 + dy : 2 + dy + rows, 2 + dx : 2 + dx + columns].copy()
        if dy:
            neighbour[0] = west_of_first_row
        else:
            neighbour[:, : min(columns, -dx)] = start_of_row_above[:, None]
        neighbours.append(neighbour)
    return neighbours
