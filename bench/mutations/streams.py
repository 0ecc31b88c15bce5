"""Damaged `.misc` files, read and rebuilt in this process: a picture or a typed error, soon, in little memory."""

import random
import signal
import time
from collections.abc import Callable
from functools import cache

from bench.mutations import seeds
from bench.mutations.damage import damaged_stream, sealed
from bench.mutations.record import Chunk, Finding
from codec.bitstream import Stream, unpack
from codec.bitstream.stream import NetCoarse
from codec.decode.coarse import rebuild_coarse
from codec.errors import CodecError
from codec.nets.interface import CoarseNetwork

MOST_SECONDS = 1.0
"""Processor time of one stream; the clock on the wall would measure the machine's other work too."""

MOST_PIXELS = 2_000_000
"""Enlarging to a larger size that is within the limits takes as long as it takes, and is no hang."""

_HANG_SECONDS = 60
"""Whatever takes so much processor time ends its process, and with it the chunk, which is a finding."""

_NET_EVERY, _SLOW_EVERY = 40, 60
"""A stream of mode net runs a network, and a large grid or a text is decoded bit by bit; one in so many is one."""


def examine_chunk(seed: int, number: int, count: int) -> Chunk:
    """Streams of one chunk, the same for the same seed and number. Half of them have their checksum repaired."""
    warm_up()
    rng = random.Random(f"streams {seed} {number}")
    chunk = Chunk(number, count)
    for index in range(count):
        architecture = rng.choice(sorted(seeds.net_streams()))
        if index % _NET_EVERY == 0:
            whole = seeds.net_streams()[architecture]
        else:
            whole = rng.choice(seeds.slow_streams() if index % _SLOW_EVERY == 2 else seeds.quick_streams())
        body = damaged_stream(rng, seeds.streams(), whole)
        data = sealed(body) if index % 2 == 0 else body + rng.randbytes(4)
        signal.setitimer(signal.ITIMER_PROF, _HANG_SECONDS)
        started = time.process_time()
        outcome, fault = _examine(data, architecture)
        seconds = time.process_time() - started
        signal.setitimer(signal.ITIMER_PROF, 0)
        chunk.note(outcome, seconds)
        if fault is None and seconds > MOST_SECONDS:
            fault = f"took {seconds:.2f} s"
        if fault is not None:
            chunk.findings.append(Finding(f"stream-{seed}-{number}-{index}.misc", fault, data))
    return chunk


@cache
def warm_up() -> None:
    """Load libraries, tables and networks, whose time is no stream's."""
    for architecture, data in seeds.net_streams().items():
        _examine(data, architecture)
    for data in seeds.streams():
        _examine(data, "")


def _examine(data: bytes, architecture: str) -> tuple[str, str | None]:
    """What came of it, and what is wrong with that."""
    try:
        stream = unpack(data).stream
        if stream.width * stream.height > MOST_PIXELS:
            return "read, too large to rebuild here", None
        picture = rebuild_coarse(stream, find_network=_finder(stream, architecture))
    except CodecError as error:
        return error.code, None
    except Exception as error:  # noqa: BLE001 - any other kind is what is looked for
        return "crash", f"{type(error).__name__}: {error}"
    if picture.size != (stream.width, stream.height):
        return "crash", f"a picture of {picture.size}"
    return "picture", None


def _finder(stream: Stream, architecture: str) -> Callable[[bytes], CoarseNetwork] | None:
    return (lambda _digest: _network(architecture)) if isinstance(stream.coarse, NetCoarse) else None


@cache
def _network(architecture: str) -> CoarseNetwork:
    import torch

    from tests.golden.fixed_networks import fixed_codec

    torch.set_num_threads(1)
    return fixed_codec(architecture)
