"""Packs and unpacks streams in processes of their own: the coders are Python, and beside the threads that wait for a
model and hold pictures they make use of the other cores."""

from collections.abc import Callable

from codec.bitstream import Stream, pack, unpack
from codec.bitstream.container import Packed
from core.process_pool import ProcessPool


class PackPool:
    """Called from many threads; the processes import the bitstream and no network."""

    def __init__(self, count: int) -> None:
        self._processes = ProcessPool(count)

    def pack(self, stream: Stream, cancelled: Callable[[], bool]) -> Packed:
        """As `codec.bitstream.pack`; raises Cancelled and ProcessLost besides."""
        return self._processes.call(pack, stream, cancelled)

    def unpack(self, data: bytes, cancelled: Callable[[], bool]) -> Stream:
        """The stream that `codec.bitstream.unpack` reads; raises Cancelled and ProcessLost besides."""
        return self._processes.call(unpack, data, cancelled).stream

    def close(self) -> None:
        """End the processes at once."""
        self._processes.close()
