"""Measures a picture as a whole: light, contrast, colours, where the detail lies. No wording."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from codec.encode.describe.colours import nearest_colours, share_of_colours
from codec.encode.describe.regions import Cut


@dataclass(frozen=True)
class Overview:
    """The whole picture's measurements, as steps of scales that begin at 0 for the least.

    `light` 0 to 4, `contrast` and `vividness` 0 to 3, `detail` 0 to 2. `horizon` is the height (0 top, 1 bottom) of an
    edge that crosses the picture, or None; `brighter_side` and `detail_place` are "" where nothing is uneven.
    """

    light: int
    contrast: int
    vividness: int
    is_grey: bool
    colours: tuple[str, ...]
    detail: int
    detail_place: str
    brighter_side: str
    horizon: float | None


def survey(cut: Cut) -> Overview:
    """Measure a cut picture."""
    lightness = cut.lab[..., 0]
    chroma = np.hypot(cut.lab[..., 1], cut.lab[..., 2])
    low, high = np.percentile(lightness, (5, 95))
    mean_chroma = float(chroma.mean())
    shares = share_of_colours(nearest_colours(cut.lab.reshape(-1, 3)))
    return Overview(
        light=_step(float(lightness.mean()), (22, 42, 60, 80)),
        contrast=_step(float(high - low), (8, 30, 62)),
        vividness=_step(mean_chroma, (12, 20, 32)),
        is_grey=bool(np.percentile(chroma, 98) < 4),
        colours=tuple(colour.word for colour, share in shares[:3] if share > 0.08) or (shares[0][0].word,),
        detail=_step(float(cut.roughness.mean()), (3, 7)),
        detail_place=_detail_place(cut),
        brighter_side=_brighter_side(lightness),
        horizon=_horizon(cut),
    )


def _step(value: float, limits: tuple[float, ...]) -> int:
    return sum(value >= limit for limit in limits)


def _brighter_side(lightness: npt.NDArray[np.floating[Any]]) -> str:
    """The side towards which lightness rises by at least 18 from one third of the picture to the opposite one."""
    height, width = lightness.shape
    rows, columns = max(1, height // 3), max(1, width // 3)
    rises = {
        "top": lightness[:rows].mean() - lightness[-rows:].mean(),
        "left": lightness[:, :columns].mean() - lightness[:, -columns:].mean(),
    }
    rises["bottom"], rises["right"] = -rises["top"], -rises["left"]
    side = max(rises, key=lambda name: rises[name])
    return side if rises[side] >= 18 else ""


def _detail_place(cut: Cut) -> str:
    """The half or the middle that is more than 1.8 times as rough as the rest, if any."""
    height, width = cut.roughness.shape
    places = {
        "in the upper half": (slice(0, height // 2), slice(None)),
        "in the lower half": (slice(height // 2, None), slice(None)),
        "on the left": (slice(None), slice(0, width // 2)),
        "on the right": (slice(None), slice(width // 2, None)),
        "in the middle": (slice(height // 5, height - height // 5), slice(width // 5, width - width // 5)),
    }
    total, pixels = float(cut.roughness.sum()), cut.roughness.size
    best, best_ratio = "", 1.8
    for name, part in places.items():
        inside = cut.roughness[part]
        rest = (total - float(inside.sum())) / max(1, pixels - inside.size)
        ratio = float(inside.mean()) / max(rest, 0.5)
        if ratio > best_ratio:
            best, best_ratio = name, ratio
    return best


def _horizon(cut: Cut) -> float | None:
    """A height at which most columns change in the same way over a few rows, if there is one.

    Edges of frames and borders do not count: only heights between 15% and 85% are looked at.
    """
    lab = cut.lab
    reach = max(2, lab.shape[0] // 40)
    height = lab.shape[0]
    padded = np.concatenate([np.zeros_like(lab[:1]), np.cumsum(lab, axis=0, dtype=np.float32)])
    rows = np.arange(max(reach, int(0.15 * height)), min(height - reach, int(0.85 * height) + 1))
    if rows.size == 0:
        return None
    change = (padded[rows + reach] - 2 * padded[rows] + padded[rows - reach]) / reach
    typical = np.median(change, axis=1)
    length = np.sqrt((typical**2).sum(axis=1))
    agreeing = ((change * typical[:, None]).sum(axis=2) > 0.5 * (length**2)[:, None]).mean(axis=1)
    strength = np.where(agreeing > 0.8, length, 0)
    best = int(strength.argmax())
    return float(rows[best] / height) if strength[best] > 12 else None
