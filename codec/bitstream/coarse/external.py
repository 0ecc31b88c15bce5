"""The external coarse payload: which reference picture stands beside the stream, and what it cost elsewhere.

The picture itself is never inside the stream, so this payload is honest about what it does not count.
"""

from codec.bitstream.coding.varint import MAX_VARINT_BITS, read_varint, write_varint
from codec.bitstream.stream import ExternalCoarse
from codec.errors import StreamCorrupt, StreamError, StreamTruncated, StreamUnsupported

EXTERNAL_MODE = 2
"""The low two bits of the payload's first byte; its other six are zero in version 1."""

DIGEST_BYTES = 16
"""First bytes of the reference file's SHA-256 that the stream keeps."""


def encode_external(coarse: ExternalCoarse) -> bytes:
    """Mode byte, digest, declared bits. Raises StreamError when a field does not fit the format."""
    if len(coarse.digest) != DIGEST_BYTES:
        raise StreamError(f"The reference's digest must have {DIGEST_BYTES} bytes, not {len(coarse.digest)}.")
    if coarse.declared_bits < 0 or coarse.declared_bits >> MAX_VARINT_BITS:
        raise StreamError("The declared bits of a reference must be in [0, 2**63).")
    return bytes((EXTERNAL_MODE,)) + coarse.digest + write_varint(coarse.declared_bits)


def decode_external(payload: bytes) -> ExternalCoarse:
    """The inverse of `encode_external`; raises StreamError children for anything it would not have written."""
    if not payload:
        raise StreamTruncated("The coarse section is empty.")
    if payload[0] != EXTERNAL_MODE:
        raise StreamUnsupported("The external coarse section has flags that this version does not know.")
    if len(payload) < 1 + DIGEST_BYTES:
        raise StreamTruncated("The external coarse section ends inside the reference's digest.")
    declared_bits, position = read_varint(payload, 1 + DIGEST_BYTES, len(payload))
    if position != len(payload):
        raise StreamCorrupt("The external coarse section has bytes after its last field.")
    return ExternalCoarse(payload[1 : 1 + DIGEST_BYTES], declared_bits)
