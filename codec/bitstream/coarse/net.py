"""The learned codec's coarse payload: by how much the picture was reduced, then that codec's own bytes.

What those bytes mean is in docs/bitstream-net.md; reading them needs the network, which this module does not know.
"""

from codec.bitstream.stream import NetCoarse
from codec.errors import StreamError, StreamLimitExceeded, StreamTruncated, StreamUnsupported
from codec.limits import MAX_NET_BYTES

NET_MODE = 3
"""The low two bits of the payload's first byte."""

SCALES = (1, 2, 4, 8)
"""Reductions that the next two bits number; the upper four are zero in version 1."""


def encode_net(coarse: NetCoarse) -> bytes:
    """Mode byte, payload. Raises StreamError children for what the format cannot hold."""
    if coarse.scale not in SCALES:
        raise StreamError(f"A learned codec's picture is reduced by one of {SCALES}, not by {coarse.scale}.")
    _check_size(coarse.payload)
    return bytes((NET_MODE | SCALES.index(coarse.scale) << 2,)) + coarse.payload


def decode_net(payload: bytes) -> NetCoarse:
    """The inverse of `encode_net`; raises StreamError children for anything it would not have written."""
    if payload[0] >> 4:
        raise StreamUnsupported("The learned codec's section has flags that this version does not know.")
    _check_size(payload[1:])
    return NetCoarse(SCALES[payload[0] >> 2], payload[1:])


def _check_size(payload: bytes) -> None:
    if not payload:
        raise StreamTruncated("The learned codec's payload is empty.")
    if len(payload) > MAX_NET_BYTES:
        raise StreamLimitExceeded(f"A learned codec's payload has {len(payload)} bytes; {MAX_NET_BYTES} are allowed.")
