"""What a `.misc` stream holds, as plain values. How it is written is in `container.py` and its neighbours."""

from dataclasses import dataclass, field
from enum import StrEnum


class CoarseKind(StrEnum):
    """Which payload carries the coarse picture."""

    PIXEL = "pixel"
    """Quantised block averages, losslessly coded."""
    REF = "ref"
    """A picture file of another codec, without the wrapper bytes that can be rebuilt."""
    EXTERNAL = "external"
    """The digest of a reference picture that is stored beside the stream."""
    NET = "net"
    """The strings of a learned codec."""


@dataclass(frozen=True)
class PixelCoarse:
    """Block averages of pixel mode.

    `samples`: rows x columns x 3 bytes in R, G, B order, each in [0, 2**(8 - level)): the channel >> level.
    """

    columns: int
    rows: int
    level: int
    samples: bytes
    kind: CoarseKind = field(default=CoarseKind.PIXEL, init=False)


@dataclass(frozen=True)
class RefCoarse:
    """A reduced picture as a complete file of another codec. Packing leaves its wrapper out, unpacking rebuilds it.

    `codec` is one of "avif", "webp", "jxl", "jpeg"; `scale` is the reduction: 1, 2 or 4.
    """

    codec: str
    scale: int
    file: bytes
    kind: CoarseKind = field(default=CoarseKind.REF, init=False)


@dataclass(frozen=True)
class ExternalCoarse:
    """A finished reference picture from an outside codec. `digest` is the first 16 bytes of the file's SHA-256,
    `declared_bits` what that codec spent on it."""

    digest: bytes
    declared_bits: int
    kind: CoarseKind = field(default=CoarseKind.EXTERNAL, init=False)


@dataclass(frozen=True)
class NetCoarse:
    """A picture reduced by `scale` (1, 2, 4 or 8) as a learned codec compressed it.

    `payload` is that codec's own, check value included; only the network that the stream names can read it.
    """

    scale: int
    payload: bytes
    kind: CoarseKind = field(default=CoarseKind.NET, init=False)


Coarse = PixelCoarse | RefCoarse | ExternalCoarse | NetCoarse


@dataclass(frozen=True)
class Texts:
    """The stored part of a description: up to three details, in the order of the maps, and the overall text."""

    details: tuple[str, ...] = ()
    overall: str = ""


@dataclass(frozen=True)
class Maps:
    """Where each item is. `masks`: one per item, each edge x edge bits in row order as bytes of 0 and 1."""

    edge: int
    masks: tuple[bytes, ...]


@dataclass(frozen=True)
class Stream:
    """Everything that the decoder gets, except the networks.

    `width`, `height` are the original's, in pixels. `profile` is "lite" or "sd21". The two network digests are the
    first 4 bytes of a SHA-256, or None when the stream needs (coarse) or prefers (restorer) none. `grain` is the
    standard deviation of the original's noise in grey levels of 8 bits, 0 where none is said.
    """

    width: int
    height: int
    coarse: Coarse
    texts: Texts = Texts()
    maps: Maps | None = None
    profile: str = "lite"
    coarse_network: bytes | None = None
    restorer_network: bytes | None = None
    grain: float = 0.0


@dataclass(frozen=True)
class Bits:
    """Where the bits of a stream went; the four add up to eight times the file's bytes exactly."""

    container: int
    text: int
    maps: int
    coarse: int

    @property
    def total(self) -> int:
        """All bits of the file."""
        return self.container + self.text + self.maps + self.coarse
