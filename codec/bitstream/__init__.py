"""The `.misc` format: `pack` a Stream into bytes, `unpack` bytes into a Stream. Normative text: docs/bitstream.md.

Python and numpy over whole numbers: no torch, and nothing whose rounding could differ between machines.
"""

from codec.bitstream.container import Unpacked, pack, unpack
from codec.bitstream.stream import (
    Bits,
    Coarse,
    CoarseKind,
    ExternalCoarse,
    Maps,
    NetCoarse,
    PixelCoarse,
    RefCoarse,
    Stream,
    Texts,
)

__all__ = [
    "Bits",
    "Coarse",
    "CoarseKind",
    "ExternalCoarse",
    "Maps",
    "NetCoarse",
    "PixelCoarse",
    "RefCoarse",
    "Stream",
    "Texts",
    "Unpacked",
    "pack",
    "unpack",
]
