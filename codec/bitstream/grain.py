"""The grain of a picture in a stream: one byte, an ancillary section."""

from codec.errors import StreamCorrupt, StreamError

GRAIN_STEP = 1 / 32
"""Grey levels; what the byte counts in."""

MAX_GRAIN = 255 * GRAIN_STEP
"""Grey levels; the strongest grain that the byte can say."""


def encode_grain(deviation: float) -> bytes:
    """One byte for a standard deviation in grey levels of 8 bits; none for less than half a step.

    Raises StreamError for what is no deviation, or more than MAX_GRAIN.
    """
    if not 0 <= deviation <= MAX_GRAIN:
        raise StreamError(f"A grain has a deviation from 0 to {MAX_GRAIN:.2f} grey levels, not {deviation}.")
    steps = round(deviation / GRAIN_STEP)
    return bytes((steps,)) if steps else b""


def decode_grain(payload: bytes) -> float:
    """The standard deviation in grey levels. Raises StreamCorrupt for what `encode_grain` does not write."""
    if len(payload) != 1 or not payload[0]:
        raise StreamCorrupt("The grain of the stream is no single number from 1 to 255.")
    return payload[0] * GRAIN_STEP
