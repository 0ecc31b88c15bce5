"""20,000 damaged streams: a picture or a typed error, soon, and no memory before the limits are checked."""

import random
import time
import tracemalloc
from contextlib import suppress

import pytest

from bench.mutations.damage import sealed
from bench.mutations.seeds import quick_streams
from bench.mutations.streams import MOST_SECONDS, examine_chunk
from codec.bitstream import unpack
from codec.bitstream.coding.varint import write_varint
from codec.bitstream.container import MAGIC
from codec.errors import StreamError, StreamLimitExceeded
from codec.limits import MAX_STREAM_BYTES

CHUNKS, STREAMS_A_CHUNK = 20, 1_000
"""20,000 streams, in chunks that several test processes can share; `python -m bench.mutations` does a million."""


@pytest.mark.parametrize("number", range(CHUNKS))
def test_damaged_streams_give_a_picture_or_a_typed_error_within_a_second(number: int) -> None:
    chunk = examine_chunk(7, number, STREAMS_A_CHUNK)
    assert [(finding.fault, finding.data.hex()) for finding in chunk.findings] == []
    # Without this the test would pass if every stream were refused at its first byte.
    assert chunk.outcomes["picture"] >= STREAMS_A_CHUNK // 20


def hostile() -> dict[str, bytes]:
    head = MAGIC + b"\x10"
    sizes = write_varint(60_000) + write_varint(1_600)
    external = b"\x02" + bytes(16) + b"\x01"
    return {
        "size-beyond-the-limits": sealed(head + write_varint(2**40) + write_varint(2**40) + b"\x03" + external),
        "pixels-beyond-the-limits": sealed(head + write_varint(65_535) * 2 + b"\x03" + external),
        "section-longer-than-the-file": sealed(head + sizes + write_varint(2**50 << 4 | 3) + external),
        "text-of-noise": sealed(head + sizes + write_varint(200 << 4 | 1) + b"\xa5" * 200 + b"\x03" + external),
        "maps-of-noise": sealed(head + sizes + write_varint(200 << 4 | 2) + b"\x5a" * 200 + b"\x03" + external),
        # Tracing memory makes pure Python many times slower, so this grid is not the largest one.
        "large-grid-without-samples": sealed(head + sizes + b"\x03" + b"\x40\x7f\x3f"),
        "large-grid-of-full-bytes": sealed(head + sizes + b"\x03" + b"\x40\x7f\x3f" + b"\xff" * 50_000),
        "reference-without-data": sealed(head + sizes + b"\x03" + b"\x01"),
        "jpeg-of-noise": sealed(head + sizes + b"\x03" + b"\x0d" + b"\xff\xd8" * 500),
        "jxl-of-noise": sealed(head + sizes + b"\x03" + b"\x09" + b"\xff\x0a" * 500),
        "megabytes-of-pixels": sealed(head + sizes + b"\x03" + b"\x0c" + b"\x77" * 4_000_000),
        "megabytes-of-reference": sealed(head + sizes + b"\x03" + b"\x05" + b"\x77" * 4_000_000),
    }


@pytest.mark.parametrize("name", hostile())
def test_hostile_stream_takes_no_memory_to_speak_of_and_no_second(name: str) -> None:
    data = hostile()[name]
    for warm in quick_streams():
        unpack(warm)
    started = time.process_time()
    with suppress(StreamError):
        unpack(data)
    assert time.process_time() - started <= MOST_SECONDS
    tracemalloc.start()
    with suppress(StreamError):
        unpack(data)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Payloads are cut out of the file once or twice; the rest is the grid of blocks and the model's counts.
    assert peak_bytes <= 3 * len(data) + 4_000_000


def test_stream_beyond_the_size_limit_is_refused_before_it_is_looked_at() -> None:
    data = MAGIC + b"\x10" + bytes(MAX_STREAM_BYTES)
    tracemalloc.start()
    with pytest.raises(StreamLimitExceeded):
        unpack(data)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes <= 100_000


@pytest.mark.parametrize(("columns", "rows", "level"), [(48, 32, 0), (64, 64, 0), (256, 256, 0), (256, 256, 3)])
def test_slowest_grids_of_each_model_decode_within_a_second(columns: int, rows: int, level: int) -> None:
    body = MAGIC + b"\x10" + write_varint(5_000) + write_varint(4_001)
    body += b"\x03" + bytes((0x40 | level << 2, columns - 1, rows - 1)) + random.Random(1).randbytes(100_000)
    fastest = MOST_SECONDS * 10
    # The best of three, because other work on the machine slows every process down.
    for _ in range(3):
        started = time.process_time()
        with suppress(StreamError):
            unpack(sealed(body))
        fastest = min(fastest, time.process_time() - started)
    assert fastest <= MOST_SECONDS
