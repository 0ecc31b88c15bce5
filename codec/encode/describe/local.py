"""The built-in describer: needs no service, and says only what it has measured or, with a tagger, surely recognised.

It measures a copy of at most 256 pixels along the long edge; finer detail plays no part.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from codec.description import Description
from codec.encode.describe.naming import find_things
from codec.encode.describe.overview import survey
from codec.encode.describe.regions import cut_regions
from codec.encode.describe.subjects import choose_subjects
from codec.encode.describe.words import describe_in_words
from codec.limits import MAX_ITEMS
from codec.nets.tagger.sighting import PictureTagger

_LONG_EDGE_PX = 256

# Segmentation and filters need a few pixels each way; a smaller or thinner picture is stretched, not refused.
_SHORTEST_EDGE_PX = 16


@dataclass(frozen=True)
class LocalDescription:
    """What the describer says, and for each item where it is: (H', W') float32 in [0, 1], at the reduced size."""

    description: Description
    maps: tuple[npt.NDArray[np.float32], ...]


def describe_locally(picture: Image.Image, tagger: PictureTagger | None = None) -> LocalDescription:
    """Describe an upright sRGB picture (mode RGB) of any size by what `tagger` recognises in it, and by its most
    distinct regions, three together.

    Names have at most 3 words, details at most 10, the overall text 40 to 60. The same picture gives the same
    description on one machine.
    """
    things = [] if tagger is None else find_things(tagger.look(picture))
    # Regions that belong to things go; as many more are kept to take their places.
    cut = cut_regions(np.asarray(_reduced(picture)), MAX_ITEMS + len(things))
    chosen = choose_subjects(cut, things)
    description = describe_in_words([subject for subject, _ in chosen], survey(cut))
    return LocalDescription(description, tuple(values for _, values in chosen))


def _reduced(picture: Image.Image) -> Image.Image:
    scale = min(1.0, _LONG_EDGE_PX / max(picture.size))
    width, height = (max(1, round(side * scale)) for side in picture.size)
    # The gap lets Pillow shrink by whole factors first, which takes a twentieth of the time on 100 megapixels.
    small = picture.resize((width, height), Image.Resampling.BOX, reducing_gap=3.0)
    if min(width, height) >= _SHORTEST_EDGE_PX:
        return small
    size = max(width, _SHORTEST_EDGE_PX), max(height, _SHORTEST_EDGE_PX)
    return small.resize(size, Image.Resampling.NEAREST)
