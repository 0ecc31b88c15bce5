"""What encode and decode see of the networks. Needs no PyTorch, so that naming an interface costs nothing."""

from collections.abc import Callable
from typing import Protocol

from PIL import Image

from codec.bitstream.stream import NetCoarse


class CoarseNetwork(Protocol):
    """A learned codec with its weights."""

    @property
    def digest(self) -> bytes:
        """The first 4 bytes of the SHA-256 of its weights' file."""

    def compress(self, picture: Image.Image, scale: int | None = None) -> NetCoarse:
        """The picture, reduced by `scale` first, as strings; None stands for the scale that the network is made for."""

    def decompress(self, coarse: NetCoarse, width: int, height: int) -> Image.Image:
        """The reduced picture, RGB, of the size ceil(width / scale) x ceil(height / scale); raises StreamCorrupt when
        the payload is damaged or was made by another network."""


FindNetwork = Callable[[bytes], CoarseNetwork]
"""Given the digest prefix that a stream names, its network; raises WeightsMissing, which says how to get it."""
