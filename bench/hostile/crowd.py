"""Connections that say nothing or half a header, opened again when the server has closed them, in a process of their
own. `python -m bench.hostile.crowd COUNT PORT...` holds them until its input ends, and prints how many were reopened.
"""

import asyncio
import contextlib
import itertools
import resource
import subprocess
import sys
from collections.abc import Sequence

_HALF_HEADER = b"POST /v1/images HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half: "
_PAUSE_SECONDS = 1.0


class Crowd:
    """The process that holds them, from its start to `end`."""

    def __init__(self, count: int, ports: Sequence[int]) -> None:
        command = [sys.executable, "-m", "bench.hostile.crowd", str(count), *map(str, ports)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def end(self) -> int:
        """Close them all; returns how many the server had closed until then."""
        output, _ = self._process.communicate(timeout=60)
        return int(output)


def main() -> int:
    """Hold them until the input ends."""
    count, *ports = map(int, sys.argv[1:])
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 65536), most))
    print(asyncio.run(_hold_all(count, ports)))
    return 0


async def _hold_all(count: int, ports: Sequence[int]) -> int:
    closed = itertools.count()
    tasks = [asyncio.create_task(_hold(ports[number % len(ports)], number, closed)) for number in range(count)]
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return next(closed)


async def _hold(port: int, number: int, closed: "itertools.count[int]") -> None:
    """Two of four say half a header."""
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.closing(writer):
                if number % 4 >= 2:
                    writer.write(_HALF_HEADER)
                await reader.read()
            next(closed)
        await asyncio.sleep(_PAUSE_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
