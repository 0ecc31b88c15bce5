"""The external reference: a finished picture of an outside codec, named in the stream by digest, never inside it."""

import hashlib
import math
from dataclasses import dataclass

from codec.bitstream.coarse.external import DIGEST_BYTES
from codec.bitstream.stream import ExternalCoarse
from codec.errors import OptionError
from codec.picture.open import open_picture

_MAX_BPP = 100.0


@dataclass(frozen=True)
class Reference:
    """A reference picture's file, and the bits per pixel that its codec is said to have spent on it."""

    data: bytes
    bpp: float


def encode_external_coarse(reference: Reference, width: int, height: int) -> ExternalCoarse:
    """What a stream of a width x height picture keeps of the reference: digest and declared bits.

    Raises PictureError children for a file that cannot be opened, OptionError for a rate that is no number in
    (0, 100].
    """
    if not math.isfinite(reference.bpp) or not 0 < reference.bpp <= _MAX_BPP:
        raise OptionError(f"The reference's bpp must be above 0 and at most {_MAX_BPP:g}, not {reference.bpp}.")
    open_picture(reference.data)
    digest = hashlib.sha256(reference.data).digest()[:DIGEST_BYTES]
    return ExternalCoarse(digest, round(reference.bpp * width * height))
