"""Chooses what the items are about: first the things that were recognised, then the regions that stand out most."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from codec.encode.describe.colours import Colour
from codec.encode.describe.naming import Thing
from codec.encode.describe.regions import Cut
from codec.encode.describe.traits import measure, measure_mask
from codec.encode.describe.words import Subject
from codec.limits import MAX_ITEMS

Floats = npt.NDArray[np.float32]

_COVERED = 0.5
"""A region of which so much belongs to things that were named is not spoken of again."""

_GREY_CHROMA = 4.0
_SKIN_SHARE = 0.005
_CERTAIN_PERSON = 0.9
_CLOSE_SHARE = 0.03

_PLAIN = ("black", "grey", "white", "brown", "beige")
_TELLING_SHARE = 0.2

_FIGURE = "figure"
_WEARING = ("person", _FIGURE)
"""What has the colours of its clothes."""


def choose_subjects(cut: Cut, things: Sequence[Thing]) -> list[tuple[Subject, Floats]]:
    """Up to three subjects, each with its map (H', W') in [0, 1] of the cut picture's shape."""
    chosen: list[tuple[Subject, Floats]] = []
    taken = np.zeros(cut.labels.shape, dtype=bool)
    for thing in things[:MAX_ITEMS]:
        values = _sized(thing.mask, cut.labels.shape)
        mask = values > 0.5
        if not mask.any():
            continue
        taken |= mask
        word, kind = (_FIGURE, _FIGURE) if _may_be_a_statue(thing, cut, mask) else (thing.word, thing.kind)
        traits = measure_mask(cut, mask)
        traits = replace(traits, colours=_telling(traits.colours))
        subject = Subject(traits, word, kind, thing.count, has_colour=word not in _WEARING)
        chosen.append((subject, values))
    for region in cut.chosen:
        mask = cut.labels == region
        if len(chosen) < MAX_ITEMS and (mask & taken).sum() <= _COVERED * mask.sum():
            chosen.append((Subject(measure(cut, region)), mask.astype(np.float32)))
    return chosen


def _telling(colours: tuple[tuple[Colour, float], ...]) -> tuple[tuple[Colour, float], ...]:
    """The colours with the one first that a person would name a thing by: a yellow car has more chrome and shadow than
    yellow."""
    telling = [pair for pair in colours if pair[0].family not in _PLAIN and pair[1] >= _TELLING_SHARE]
    return (telling[0], *(pair for pair in colours if pair is not telling[0])) if telling else colours


def _may_be_a_statue(thing: Thing, cut: Cut, mask: npt.NDArray[np.bool_]) -> bool:
    """Whether a person, not quite certain and near enough to show skin, shows none; without colours nobody can tell."""
    if thing.word != "person" or thing.probability >= _CERTAIN_PERSON or mask.mean() < _CLOSE_SHARE:
        return False
    a, b = cut.lab[..., 1], cut.lab[..., 2]
    chroma = np.hypot(a, b)
    if np.percentile(chroma, 98) < _GREY_CHROMA:
        return False
    hue = np.degrees(np.arctan2(b, a)) % 360
    is_skin = (hue > 25) & (hue < 60) & (chroma > 12) & (chroma < 45) & (cut.lab[..., 0] > 25)
    return bool(is_skin[mask].mean() < _SKIN_SHARE)


def _sized(mask: Floats, shape: tuple[int, ...]) -> Floats:
    height, width = shape
    resized = Image.fromarray(mask).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized, np.float32).clip(0.0, 1.0)
