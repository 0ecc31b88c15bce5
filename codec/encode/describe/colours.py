"""Plain words for colours: which of them is nearest in Lab. It knows nothing of pictures or regions."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from skimage.color import rgb2lab


@dataclass(frozen=True)
class Colour:
    """A colour word. `family` groups the shades that a person would call by one basic word."""

    word: str
    family: str


# sRGB values of typical bearers of each word, so that shades of one family lie at even distances in Lab.
_TABLE = {
    "black": {"black": (12, 12, 12)},
    "grey": {
        "charcoal grey": (48, 48, 48),
        "dark grey": (82, 82, 82),
        "grey": (128, 128, 128),
        "light grey": (185, 185, 185),
        "warm grey": (140, 138, 124),
        "olive grey": (84, 82, 70),
    },
    "white": {"off-white": (222, 221, 217), "white": (248, 248, 248)},
    "beige": {"cream": (243, 232, 203), "beige": (212, 194, 162), "tan": (186, 156, 118), "taupe": (132, 116, 100)},
    "brown": {
        "light brown": (158, 116, 76),
        "brown": (116, 76, 46),
        "dark brown": (62, 42, 30),
        "reddish brown": (132, 66, 48),
        "grey-brown": (92, 78, 66),
    },
    "orange": {
        "orange": (240, 138, 40),
        "dark orange": (204, 98, 30),
        "orange-red": (218, 76, 40),
        "peach": (248, 200, 164),
    },
    "yellow": {
        "yellow": (246, 218, 50),
        "pale yellow": (246, 236, 160),
        "golden yellow": (216, 168, 52),
        "mustard yellow": (166, 134, 48),
        "lime yellow": (206, 220, 50),
        "yellow-green": (164, 172, 46),
    },
    "green": {
        "olive green": (106, 106, 54),
        "dark olive": (58, 58, 34),
        "lime green": (146, 196, 54),
        "bright green": (56, 180, 66),
        "green": (62, 128, 58),
        "dark green": (28, 62, 34),
        "pale green": (172, 208, 162),
        "grey-green": (116, 138, 108),
        "dark grey-green": (58, 78, 58),
    },
    "teal": {
        "teal": (28, 126, 128),
        "dark teal": (16, 68, 72),
        "turquoise": (68, 198, 194),
        "pale turquoise": (180, 226, 222),
    },
    "blue": {
        "pale blue": (182, 208, 232),
        "light blue": (122, 178, 228),
        "blue": (48, 100, 192),
        "bright blue": (20, 60, 230),
        "dark blue": (24, 44, 104),
        "navy blue": (16, 22, 56),
        "grey-blue": (120, 138, 160),
        "dark grey-blue": (62, 74, 92),
    },
    "purple": {
        "lavender": (190, 178, 222),
        "purple": (122, 62, 152),
        "dark purple": (58, 30, 74),
        "mauve": (142, 116, 140),
    },
    "pink": {
        "magenta": (206, 44, 140),
        "bright pink": (242, 92, 150),
        "pink": (240, 160, 184),
        "pale pink": (244, 212, 214),
        "dusty pink": (190, 136, 136),
    },
    "red": {
        "red": (204, 36, 38),
        "bright red": (244, 42, 32),
        "dark red": (116, 24, 28),
        "maroon": (70, 22, 28),
        "coral red": (236, 112, 94),
    },
}

_COLOURS = tuple(Colour(word, family) for family, shades in _TABLE.items() for word in shades)
_VALUES = np.array([value for shades in _TABLE.values() for value in shades.values()], np.float64)
_LAB = rgb2lab(_VALUES[None] / 255)[0].astype(np.float32)
_FAMILIES = tuple(_TABLE)
_FAMILY_OF = np.array([_FAMILIES.index(colour.family) for colour in _COLOURS])

_CLEAR_MAJORITY = 0.5

_PAIRS_AT_ONCE = 4_000_000


def nearest_colours(lab: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    """Index of the nearest colour word for each Lab value of an (N, 3) array, for `share_of_colours`."""
    found = np.empty(len(lab), np.intp)
    step = max(1, _PAIRS_AT_ONCE // len(_LAB))
    squares = (_LAB**2).sum(axis=1)
    for start in range(0, len(lab), step):
        chunk = lab[start : start + step]
        found[start : start + step] = (squares - 2 * chunk @ _LAB.T).argmin(axis=1)
    return found


def main_colours(lab: npt.NDArray[np.float32]) -> tuple[tuple[Colour, float], ...]:
    """The colours of an (N, 3) array of Lab values and their shares in [0, 1], the one to name it by first."""
    shares = share_of_colours(nearest_colours(lab))
    median = np.median(lab, axis=0, keepdims=True).astype(np.float32)
    middle = share_of_colours(nearest_colours(median))[0][0]
    if shares[0][1] < _CLEAR_MAJORITY and middle.family != shares[0][0].family:
        # Shades between families, skin for one, split their votes; their middle then says more than the largest part.
        rest = [(colour, share) for colour, share in shares if colour.family != middle.family]
        own = sum(share for colour, share in shares if colour.family == middle.family)
        return ((middle, own), *rest)
    return tuple(shares)


def share_of_colours(indices: npt.NDArray[np.intp]) -> list[tuple[Colour, float]]:
    """The commonest shade of each colour family and the family's share, largest share first."""
    counts = np.bincount(indices, minlength=len(_COLOURS))
    families = np.bincount(_FAMILY_OF, weights=counts, minlength=len(_FAMILIES))
    shares = []
    for family in np.argsort(-families, kind="stable"):
        if families[family] == 0:
            break
        shade = int(np.where(np.equal(_FAMILY_OF, family), counts, -1).argmax())
        shares.append((_COLOURS[shade], float(families[family] / len(indices))))
    return shares
