"""The line to a language model's server: one SDK client on one event loop, whose requests can be stopped at any moment
and whose answers are bounded before they are read. Knows nothing of prompts and answers.
"""

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from codec.encode.describe.lmm.failures import BodyTooLarge, PassingFailure, judge, quote
from codec.errors import Cancelled, CodecError, DescriberMisconfigured, DescriptionUnusable
from codec.interruptible import GLANCE_SECONDS
from codec.language_model import LMMServer
from codec.loopback import is_loopback

if TYPE_CHECKING:
    import httpx2
    import openai

Result = TypeVar("Result")

MAX_BODY_BYTES = 1024 * 1024
"""An ordinary answer has about 2 KB."""

MAX_FILE_BODY_BYTES = 512 * 1024 * 1024
"""Results of a batch: 50,000 answers of 10 KB each."""

_MAX_CONNECTIONS = 256
"""Far above the threads of any worker, so that nobody waits for a connection; idle ones are given up."""

_CONNECT_SECONDS = 10.0
_OPENAI = "https://api.openai.com/v1"
_CLOSED = "The connection to the language model's server was closed."


class Connection:
    """Runs requests for any number of threads at once.

    The SDK's asynchronous client is used because only there a request can be given up while it is connecting, sending
    or waiting, with its connection closed at once; a blocking one cannot be woken.
    """

    def __init__(self, server: LMMServer) -> None:
        """Raises DescriberMisconfigured for an address or a key that cannot be used. Connects to nothing yet."""
        self._server = server
        self.secret = _key_for(server)
        self._starting = threading.Lock()
        self._running: tuple[asyncio.AbstractEventLoop, openai.AsyncOpenAI, threading.Thread] | None = None
        self._closed = False

    def open(self) -> None:
        """Make ready to send at once, which takes seconds the first time, as the SDK is loaded. Raises as `call`."""
        self._start()

    def call(
        self,
        request: "Callable[[openai.AsyncOpenAI], Awaitable[Result]]",
        cancelled: Callable[[], bool],
        timeout_seconds: float,
    ) -> Result:
        """The result of one request with the SDK, which must end within the time.

        Raises PassingFailure, RequestNotTaken and other DescriberError children, and Cancelled within a tenth of a
        second of being told to stop; the connection of a stopped request is closed.
        """
        loop, client = self._start()
        work = self._bounded(request, client, timeout_seconds)
        try:
            future = asyncio.run_coroutine_threadsafe(work, loop)
        except RuntimeError:
            # The loop was closed between the two lines above.
            work.close()
            raise Cancelled(_CLOSED) from None
        try:
            while not concurrent.futures.wait([future], GLANCE_SECONDS).done:
                if cancelled():
                    raise Cancelled("Stopped while the language model was describing the picture.")
                if self._closed:
                    raise Cancelled(_CLOSED)
            return future.result()
        except concurrent.futures.CancelledError:
            raise Cancelled(_CLOSED) from None
        finally:
            future.cancel()

    def close(self) -> None:
        """Close every connection and end the thread; requests under way end as cancelled."""
        with self._starting:
            self._closed = True
            running, self._running = self._running, None
        if running is not None:
            loop, client, thread = running
            concurrent.futures.wait([asyncio.run_coroutine_threadsafe(_wind_up(client), loop)], _CONNECT_SECONDS)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(_CONNECT_SECONDS)

    async def _name_key(self, request: "httpx2.Request") -> None:
        """Azure wants the key in a header of its own, and takes what is in the usual one for another kind of key."""
        if self.secret and _is_azure(self._server.base_url or _OPENAI):
            del request.headers["Authorization"]
            request.headers["api-key"] = self.secret

    async def _bounded(
        self,
        request: "Callable[[openai.AsyncOpenAI], Awaitable[Result]]",
        client: "openai.AsyncOpenAI",
        timeout_seconds: float,
    ) -> Result:
        import openai

        try:
            # The SDK's own timeouts are for each read; a server that sends a byte a second passes all of them.
            async with asyncio.timeout(timeout_seconds):
                return await request(client)
        except TimeoutError:
            raise PassingFailure("The language model's server did not answer in time", charged=True) from None
        except BodyTooLarge as error:
            raise DescriptionUnusable(f"The language model's server {error}.") from None
        except openai.OpenAIError as error:
            raise judge(error, self.secret) from None
        except (CodecError, PassingFailure):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a line does, a picture is described by the fallback then
            reason = quote(f"{type(error).__name__} {error}".strip(), self.secret)
            raise PassingFailure(f"The language model's server broke the connection: {reason}", charged=True) from None

    def _start(self) -> "tuple[asyncio.AbstractEventLoop, openai.AsyncOpenAI]":
        with self._starting:
            if self._closed:
                raise Cancelled(_CLOSED)
            if self._running is None:
                client = self._new_client()
                loop = asyncio.new_event_loop()
                thread = threading.Thread(target=_run_loop, args=(loop,), name="lmm-connection", daemon=True)
                thread.start()
                self._running = loop, client, thread
            return self._running[0], self._running[1]

    def _new_client(self) -> "openai.AsyncOpenAI":
        # Imported late, since importing the SDK takes longer than importing everything else of the codec.
        import httpx2
        import openai

        address, query = _split(self._server.base_url or _OPENAI)
        timeout = httpx2.Timeout(self._server.timeout_seconds, connect=_CONNECT_SECONDS)
        limits = httpx2.Limits(max_connections=_MAX_CONNECTIONS, max_keepalive_connections=64)
        # A transport of its own takes no proxy from the environment.
        is_here = is_loopback(self._server.base_url or _OPENAI)
        try:
            http_client = openai.DefaultAsyncHttpxClient(
                timeout=timeout,
                limits=limits,
                transport=httpx2.AsyncHTTPTransport(limits=limits) if is_here else None,
                # A redirect would carry the picture to wherever the server likes.
                follow_redirects=False,
                event_hooks={"request": [self._name_key], "response": [_bound_body]},
            )
        except (ImportError, ValueError, httpx2.InvalidURL) as error:
            raise DescriberMisconfigured(
                f"The proxy of HTTP_PROXY, HTTPS_PROXY or ALL_PROXY cannot be used ({error}). Correct the variable, or "
                "name the language model's server in NO_PROXY."
            ) from None
        try:
            return openai.AsyncOpenAI(
                # Named, or the SDK would take the environment's OPENAI_BASE_URL and send pictures and key there.
                base_url=address,
                default_query=query,
                api_key=self.secret or "none",
                timeout=timeout,
                max_retries=0,
                default_headers={"Accept-Encoding": "identity"},
                http_client=http_client,
            )
        except (openai.OpenAIError, httpx2.InvalidURL) as error:
            raise DescriberMisconfigured(f"The MISC_LMM_ settings cannot be used ({type(error).__name__}).") from None


def _split(address: str) -> tuple[str, dict[str, str]]:
    """The address before the path of a call, and what is to follow each call's own (Azure's `?api-version=`)."""
    parts = urlsplit(address)
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    return urlunsplit((parts.scheme, parts.netloc, path, "", "")), dict(parse_qsl(parts.query))


def _is_azure(address: str) -> bool:
    parts = urlsplit(address)
    return (parts.hostname or "").endswith(".azure.com") or "api-version" in dict(parse_qsl(parts.query))


def _key_for(server: LMMServer) -> str:
    """The key to send, after a look at key and address."""
    key = (server.api_key or "").strip()
    if not key and not server.base_url:
        raise DescriberMisconfigured("A key is needed to ask OpenAI; set MISC_LMM_API_KEY, or MISC_LMM_BASE_URL.")
    if not (key.isascii() and key.isprintable()):
        raise DescriberMisconfigured("MISC_LMM_API_KEY holds characters that no key has; copy it again.")
    if server.base_url:
        parts = urlsplit(server.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise DescriberMisconfigured("MISC_LMM_BASE_URL must be an http or https address such as http://host/v1.")
    return key


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()


async def _wind_up(client: "openai.AsyncOpenAI") -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await client.close()


async def _bound_body(response: "httpx2.Response") -> None:
    """Called with the head of every response, before its body is read: the SDK reads bodies whole, whatever they are.

    A compressed body could unfold to a thousand times its size after being counted, so it is refused.
    """
    import httpx2

    if response.headers.get("content-encoding", "identity").lower() not in ("identity", ""):
        raise BodyTooLarge("sends compressed answers, which were not asked for")
    is_file = response.is_success and response.request.method == "GET" and response.url.path.endswith("/content")
    limit = MAX_FILE_BODY_BYTES if is_file else MAX_BODY_BYTES
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    stream: httpx2.AsyncByteStream = response.stream

    class Bounded(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            taken = 0
            async for chunk in stream:
                taken += len(chunk)
                if taken > limit:
                    raise BodyTooLarge(f"sends more than {limit} bytes")
                yield chunk

        async def aclose(self) -> None:
            await stream.aclose()

    response.stream = Bounded()
