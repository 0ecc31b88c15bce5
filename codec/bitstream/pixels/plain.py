"""Pixel blocks of large grids: one prediction, one table look-up and one division a sample, nothing learned.

The networks would take many seconds for 256x256 blocks; this stays within the time a decoder may spend on a stream.
"""

from bisect import bisect_right

from codec.bitstream.pixels.prior import PLAIN_SHAPE, SIGMOID_RANGE, SIGMOID_STEPS, PixelPrior, load_prior
from codec.errors import StreamCorrupt

GREEN_TO_RED, GREEN_TO_BLUE, RED_TO_BLUE = 15, 15, 1
"""How much of the error in one channel is expected in the next, in sixteenths."""

_ACTIVITY_STEPS = (1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 30, 42, 60, 90)
"""Activities below the first step are in bucket 0, below the second in bucket 1, ..., the rest in bucket 15."""
BUCKETS = tuple(bisect_right(_ACTIVITY_STEPS, activity) for activity in range(3 * 255 + 1))

_WINDOW_BITS, _LEAST_RANGE = 48, 1 << 32
_WINDOW_MASK = (1 << _WINDOW_BITS) - 1
_MASS_SHIFT = 7
"""The logistic curve's 22 bits are cut to 15; one unit a slot on top keeps every slot possible."""

_EIGHTH_ROOTS = (65536, 60097, 55109, 50535, 46341, 42495, 38968, 35734)
"""65536 x 2**(-i/8)."""


def write_plain(columns: int, rows: int, level: int, samples: bytes) -> bytes:
    """Code the samples of a grid; the layout is that of PixelCoarse.samples."""
    writer = RangeWriter()
    _walk(columns, rows, level, bytearray(samples), writer, b"")
    return writer.finish()


def read_plain(payload: bytes, columns: int, rows: int, level: int) -> bytes:
    """The inverse of `write_plain`; raises StreamCorrupt for bytes that no writer writes."""
    samples = bytearray(columns * rows * 3)
    if len(payload) > _walk(columns, rows, level, samples, None, payload):
        raise StreamCorrupt("The coarse section has bytes after its last sample.")
    return bytes(samples)


class RangeWriter:
    """The writing half of a range coder with 48 bits: an interval's lower end and its size, carries let through."""

    def __init__(self) -> None:
        self._low, self._size = 0, 1 << _WINDOW_BITS
        self._bytes = bytearray()

    def encode(self, start: int, mass: int, total: int) -> None:
        """Append a symbol that holds the slots [start, start + mass) of `total`."""
        unit = self._size // total
        self._low += unit * start
        self._size = unit * mass
        if self._low >> _WINDOW_BITS:
            self._carry()
        while self._size < _LEAST_RANGE:
            self._bytes.append(self._low >> _WINDOW_BITS - 8)
            self._low = self._low << 8 & _WINDOW_MASK
            self._size <<= 8

    def finish(self) -> bytes:
        """The shortest bytes inside the interval, without trailing zeros."""
        for count in range(_WINDOW_BITS // 8 + 1):
            unit = 1 << _WINDOW_BITS - 8 * count
            value = -(-self._low // unit) * unit
            if value < self._low + self._size:
                self._low = value
                if value >> _WINDOW_BITS:
                    self._carry()
                self._bytes += self._low.to_bytes(_WINDOW_BITS // 8, "big")[:count]
                break
        return bytes(self._bytes).rstrip(b"\0")

    def _carry(self) -> None:
        self._low &= _WINDOW_MASK
        at = len(self._bytes) - 1
        while self._bytes[at] == 0xFF:
            self._bytes[at] = 0
            at -= 1
        self._bytes[at] += 1


def _walk(columns: int, rows: int, level: int, samples: bytearray, writer: RangeWriter | None, payload: bytes) -> int:
    """Code all samples: from `samples` into `writer`, or, without one, from `payload` into `samples`.

    One loop for both directions, so that they cannot drift apart; the reader's arithmetic stands in the loop
    because a call for each of 196,608 samples would double its time. Returns the bytes taken in.
    """
    count = 1 << (8 - level)
    curves, scales = _curves(level), load_prior().plain_scale
    at_level = level * PLAIN_SHAPE[1] * PLAIN_SHAPE[2]
    rows_of_curves = tuple(
        tuple(curves[scales[at_level + channel * PLAIN_SHAPE[2] + bucket]] for bucket in BUCKETS)
        for channel in range(3)
    )
    window = int.from_bytes(payload[: _WINDOW_BITS // 8].ljust(_WINDOW_BITS // 8, b"\0"), "big")
    position, size = _WINDOW_BITS // 8, 1 << _WINDOW_BITS
    available = len(payload)
    top = 4 * (count - 1)
    # Rows hold G, R, B of every block, with one more block at either end.
    above = [count >> 1] * (3 * (columns + 2))
    end = 3 * (columns + 1)
    planes = (1, 0, 2)
    green_error = red_error = 0
    for row in range(rows):
        here = above[3:6] + [0] * (end - 3) + [0] * 3
        written = row * columns * 3 - 3
        for at in range(3, end):
            channel = at % 3
            west, north, corner = here[at - 3], above[at], above[at - 3]
            predicted = 3 * (west + north) - 2 * corner
            activity = abs(west - corner) + abs(north - corner)
            if channel == 0:
                activity += abs(north - above[at + 3])
            elif channel == 1:
                predicted += GREEN_TO_RED * green_error >> 4
                activity += abs(green_error) >> 2
            else:
                predicted += GREEN_TO_BLUE * green_error + RED_TO_BLUE * red_error >> 4
                activity += abs(red_error) >> 2
            if predicted < 0:
                predicted = 0
            elif predicted > top:
                predicted = top
            curve = rows_of_curves[channel][activity][predicted & 3]
            first = count - (predicted >> 2)
            base = curve[first]
            total = curve[first + count] - base
            if writer is None:
                unit = size // total
                slot = window // unit + base
                # Division leaves a rest that no writer uses; let through, it would make the window grow for ever.
                if slot >= base + total:
                    raise StreamCorrupt("The coarse section holds a value that no encoder writes.")
                index = bisect_right(curve, slot, first, first + count) - 1
                start = curve[index]
                window -= unit * (start - base)
                size = unit * (curve[index + 1] - start)
                while size < _LEAST_RANGE:
                    window = window << 8 | (payload[position] if position < available else 0)
                    size <<= 8
                    position += 1
                sample = index - first
                samples[written + at - channel + planes[channel]] = sample
            else:
                sample = samples[written + at - channel + planes[channel]]
                start = curve[first + sample]
                writer.encode(start - base, curve[first + sample + 1] - start, total)
            here[at] = sample
            if channel == 0:
                green_error = 4 * sample - predicted
            elif channel == 1:
                red_error = 4 * sample - predicted
        here[end:] = here[end - 3 : end]
        above = here
    return position


def _curves(level: int) -> dict[int, tuple[tuple[int, ...], ...]]:
    """Cumulated odds by scale and by the quarters of the prediction, for the scales that occur at this level."""
    prior = load_prior()
    per_level = PLAIN_SHAPE[1] * PLAIN_SHAPE[2]
    scales = set(prior.plain_scale[level * per_level : (level + 1) * per_level])
    return {scale: tuple(_curve(prior, scale, quarter, level) for quarter in range(4)) for scale in scales}


def _curve(prior: PixelPrior, scale: int, quarter: int, level: int) -> tuple[int, ...]:
    """Entry i is the mass below the lower edge of the sample that lies i - 2**(8 - level) bins above the prediction.

    Scales are 2**(scale/8 - 4) bins, so that 0 is a sixteenth of a bin.
    """
    count, middle = 1 << (8 - level), SIGMOID_RANGE * SIGMOID_STEPS
    root, shift = _EIGHTH_ROOTS[scale & 7], 8 + (scale >> 3)
    curve = []
    for index in range(2 * count + 1):
        place = (4 * (index - count) - 2 - quarter) * root >> shift
        place = min(max(place, -middle), middle)
        curve.append((prior.sigmoid[place + middle] >> _MASS_SHIFT) + index)
    return tuple(curve)
