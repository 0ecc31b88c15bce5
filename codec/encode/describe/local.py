"""The built-in describer: needs no network and no model, and says only what it has measured.

It looks at a copy of at most 256 pixels along the long edge; finer detail plays no part.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from codec.description import Description
from codec.encode.describe.overview import survey
from codec.encode.describe.regions import cut_regions
from codec.encode.describe.traits import measure
from codec.encode.describe.words import describe_in_words
from codec.limits import MAX_ITEMS

_LONG_EDGE_PX = 256

# Segmentation and filters need a few pixels each way; a smaller or thinner picture is stretched, not refused.
_SHORTEST_EDGE_PX = 16


@dataclass(frozen=True)
class LocalDescription:
    """What the describer says, and for each item where it is: (H', W') float32 in [0, 1], at the reduced size."""

    description: Description
    maps: tuple[npt.NDArray[np.float32], ...]


def describe_locally(picture: Image.Image) -> LocalDescription:
    """Describe an upright sRGB picture (mode RGB) of any size by its up to three most distinct regions.

    Names have at most 3 words, details at most 10, the overall text 40 to 60. The same picture gives the same
    description on one machine.
    """
    cut = cut_regions(np.asarray(_reduced(picture)), MAX_ITEMS)
    regions = [measure(cut, region) for region in cut.chosen]
    maps = tuple((cut.labels == region).astype(np.float32) for region in cut.chosen)
    return LocalDescription(describe_in_words(regions, survey(cut)), maps)


def _reduced(picture: Image.Image) -> Image.Image:
    scale = min(1.0, _LONG_EDGE_PX / max(picture.size))
    width, height = (max(1, round(side * scale)) for side in picture.size)
    # The gap lets Pillow shrink by whole factors first, which takes a twentieth of the time on 100 megapixels.
    small = picture.resize((width, height), Image.Resampling.BOX, reducing_gap=3.0)
    if min(width, height) >= _SHORTEST_EDGE_PX:
        return small
    size = max(width, _SHORTEST_EDGE_PX), max(height, _SHORTEST_EDGE_PX)
    return small.resize(size, Image.Resampling.NEAREST)
