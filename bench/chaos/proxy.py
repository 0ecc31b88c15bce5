"""A TCP proxy that stands before a server and disturbs a share of the exchanges that pass through it.

An exchange is what one side asks and the other answers, as far as a proxy can tell without knowing the protocol: it
begins with the first bytes from the client after an answer. HTTP bodies are found by the empty line before them.
"""

import asyncio
import contextlib
import random
import re
import socket
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

Address = Path | tuple[str, int]
"""A unix socket, or host and port."""

_CHUNK_BYTES = 64 * 1024
_SLOW_SLICE_BYTES = 2048

_CONTENT_LENGTH = re.compile(rb"(?im)^content-length: (\d+)")
_DISK_FULL = b"HTTP/1.1 507 Insufficient Storage\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Harm(StrEnum):
    """What is done to a disturbed exchange."""

    CUT = "cut"
    """The connection breaks in the middle of the request."""
    HALF_ANSWER = "half_answer"
    """The connection breaks in the middle of the answer."""
    LOSE_ANSWER = "lose_answer"
    """The server does what it was asked, and the connection breaks before a byte of its answer has come."""
    DELAY = "delay"
    """The request reaches the server after `seconds`, when its client has long given up."""
    SLOW = "slow"
    """Requests and answers pass at `bytes_per_second`."""
    FLIP_REQUEST = "flip_request"
    """One bit of the request's body arrives the other way round."""
    FLIP_ANSWER = "flip_answer"
    """One bit of the answer's body arrives the other way round."""
    REFUSE_UPLOADS = "refuse_uploads"
    """An upload by HTTP is answered as a store does whose disk is full; everything else passes."""
    STALL = "stall"
    """Nothing passes any more, and the connection stays open until the disturbance is over."""
    REFUSE = "refuse"
    """Connections are closed as soon as they are opened, and those that were open are broken."""


@dataclass(frozen=True)
class Disturbance:
    """A harm that befalls a share of all exchanges, in [0, 1]."""

    harm: Harm
    share: float = 1.0
    seconds: float = 20.0
    bytes_per_second: int = 4096


class Proxy:
    """One listening port before one server; many proxies share a loop in a thread."""

    def __init__(self, loop: "ProxyLoop", upstream: Address, seed: int = 0) -> None:
        """Listen on a free port of loopback; the server need not be there yet."""
        self._loop, self.upstream = loop, upstream
        self._random = random.Random(seed)
        self._disturbance: Disturbance | None = None
        self._over = asyncio.Event()
        self._clients: set[asyncio.StreamWriter] = set()
        self.disturbed_exchanges = 0
        sock = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = int(sock.getsockname()[1])
        loop.call(self._listen(sock))

    def disturb(self, disturbance: Disturbance) -> None:
        """Begin; exchanges that are under way are left alone, unless connections are refused."""
        self._loop.call(self._set(disturbance))

    def settle(self) -> None:
        """Let everything pass again."""
        self._loop.call(self._set(None))

    async def _listen(self, sock: socket.socket) -> None:
        await asyncio.start_server(self._serve, sock=sock)

    async def _set(self, disturbance: Disturbance | None) -> None:
        self._over.set()
        self._over = asyncio.Event()
        self._disturbance = disturbance
        if disturbance is not None and disturbance.harm is Harm.REFUSE:
            for client in list(self._clients):
                client.transport.abort()

    def _draw(self) -> Disturbance | None:
        """What happens to the exchange that begins now."""
        disturbance = self._disturbance
        if disturbance is None or self._random.random() >= disturbance.share:
            return None
        self.disturbed_exchanges += 1
        return disturbance

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._disturbance is not None and self._disturbance.harm is Harm.REFUSE:
            writer.transport.abort()
            return
        try:
            if isinstance(self.upstream, Path):
                server_reader, server_writer = await asyncio.open_unix_connection(str(self.upstream))
            else:
                server_reader, server_writer = await asyncio.open_connection(*self.upstream)
        except OSError:
            writer.transport.abort()
            return
        self._clients.add(writer)
        exchange = _Exchange(self._draw, self._random)
        upwards = asyncio.create_task(self._pass_requests(exchange, reader, server_writer, writer))
        downwards = asyncio.create_task(self._pass_answers(exchange, server_reader, writer))
        try:
            # A delayed request has to reach the server though its client is gone.
            await asyncio.gather(upwards, downwards, return_exceptions=True)
        except asyncio.CancelledError:
            pass  # the end of the loop; asyncio would report a connection that is cancelled as an error
        finally:
            self._clients.discard(writer)
            for each in (writer, server_writer):
                each.transport.abort()

    async def _pass_requests(
        self,
        exchange: "_Exchange",
        reader: asyncio.StreamReader,
        server: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
    ) -> None:
        try:
            while data := await reader.read(_CHUNK_BYTES):
                is_first = exchange.note_request()
                disturbance = exchange.disturbance
                match disturbance and disturbance.harm:
                    case Harm.CUT:
                        server.write(data[: len(data) // 2])
                        await server.drain()
                        break
                    case Harm.STALL:
                        await self._over.wait()
                        break
                    case Harm.REFUSE_UPLOADS if data.startswith(b"PUT "):
                        await _refuse_upload(data, reader, client)
                        server.transport.abort()
                        return
                    case Harm.DELAY if is_first and disturbance is not None:
                        await asyncio.sleep(disturbance.seconds)
                    case Harm.FLIP_REQUEST:
                        data = exchange.request_body.flip(data)
                await _send(server, data, disturbance)
            else:
                server.write_eof()
                return
        except (OSError, asyncio.IncompleteReadError):
            pass
        for each in (server, client):
            each.transport.abort()

    async def _pass_answers(
        self, exchange: "_Exchange", reader: asyncio.StreamReader, client: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                exchange.note_answer()
                disturbance = exchange.disturbance
                match disturbance and disturbance.harm:
                    case Harm.LOSE_ANSWER:
                        break
                    case Harm.HALF_ANSWER:
                        client.write(data[: len(data) // 2])
                        await client.drain()
                        break
                    case Harm.FLIP_ANSWER:
                        data = exchange.answer_body.flip(data)
                await _send(client, data, disturbance)
            client.close()
            return
        client.transport.abort()


async def _refuse_upload(data: bytes, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
    """Take the whole request, so that its sender reads on to the answer, and give that."""
    head, _, body = data.partition(b"\r\n\r\n")
    length = _CONTENT_LENGTH.search(head)
    if length is not None and int(length[1]) > len(body):
        await reader.readexactly(int(length[1]) - len(body))
    client.write(_DISK_FULL)
    await client.drain()
    client.close()


class ProxyLoop:
    """The thread in which proxies work."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._thread.start()

    def call(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run it in the loop and wait for it."""
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=30)

    def close(self) -> None:
        """End the thread, and with it every connection."""
        self.call(self._cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        self._loop.close()

    async def _cancel_all(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


@dataclass
class _Exchange:
    """Where one connection is: what happens to its present exchange, and whether that was answered."""

    draw: Callable[[], Disturbance | None]
    random: random.Random
    disturbance: Disturbance | None = None
    is_answered: bool = True
    request_body: "_Body" = field(init=False)
    answer_body: "_Body" = field(init=False)

    def note_request(self) -> bool:
        """Bytes of a request have come; True when an exchange begins with them."""
        if not self.is_answered:
            return False
        self.is_answered = False
        self.disturbance = self.draw()
        self.request_body, self.answer_body = _Body(self.random), _Body(self.random)
        return True

    def note_answer(self) -> None:
        """Bytes of an answer have come."""
        self.is_answered = True


@dataclass
class _Body:
    """Finds the body behind HTTP's headers, and flips one bit of it."""

    random: random.Random
    head: bytes = b""
    is_done: bool = False

    def flip(self, data: bytes) -> bytes:
        if self.is_done:
            return data
        seen = len(self.head)
        self.head += data
        end = self.head.find(b"\r\n\r\n")
        start = max(end + 4 - seen, 0)
        if end < 0 or start >= len(data):
            return data
        self.is_done = True
        changed = bytearray(data)
        changed[self.random.randrange(start, len(data))] ^= 1 << self.random.randrange(8)
        return bytes(changed)


async def _send(writer: asyncio.StreamWriter, data: bytes, disturbance: Disturbance | None) -> None:
    if disturbance is None or disturbance.harm is not Harm.SLOW:
        writer.write(data)
        await writer.drain()
        return
    for start in range(0, len(data), _SLOW_SLICE_BYTES):
        piece = data[start : start + _SLOW_SLICE_BYTES]
        await asyncio.sleep(len(piece) / disturbance.bytes_per_second)
        writer.write(piece)
        await writer.drain()
