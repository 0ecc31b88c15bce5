"""What an external stream declares: the bits that an outside codec spent on the picture beside it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codec.bitstream import Stream
    from codec.bitstream.stream import Bits


def declared_of(stream: "Stream", bits: "Bits") -> dict[str, Any]:
    """`declared_bits` and `bpp_declared`, the outside codec's bits and this file's but for naming it; else nothing."""
    from codec.bitstream import ExternalCoarse

    if not isinstance(stream.coarse, ExternalCoarse):
        return {}
    declared = stream.coarse.declared_bits + bits.total - bits.coarse
    return {"declared_bits": declared, "bpp_declared": declared / (stream.width * stream.height)}
