"""The Batch API: many pictures in one file, within 24 hours, at half the price. Keeps no state of its own.

A caller that survives restarts writes down the file id after `upload` and the batch id after `create`; `create` may
be called again with the same file id and finds the batch that was made already.
"""

import json
import re
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import IO, TYPE_CHECKING, Any, Final

from PIL import Image

from codec.encode.describe.lmm.answer import is_english
from codec.encode.describe.lmm.client import NOT_ENGLISH
from codec.encode.describe.lmm.completion import description_of, price, read_completion, read_json
from codec.encode.describe.lmm.connection import MAX_BODY_BYTES, Connection
from codec.encode.describe.lmm.failures import PassingFailure, RequestNotTaken, judge_body, quote
from codec.encode.describe.lmm.prompt import ABOUT_PROMPT_TOKENS, Dialect, request_body
from codec.encode.describe.lmm.retry import RetryPolicy
from codec.encode.describe.lmm.view import View
from codec.errors import DescriberError, DescriberMisconfigured, DescriberUnavailable, DescriptionUnusable
from codec.language_model import (
    MAX_BATCH_BYTES,
    MAX_BATCH_REQUESTS,
    Answer,
    BatchState,
    BatchStatus,
    LMMServer,
)
from codec.usage import Usage

if TYPE_CHECKING:
    import openai
    from openai._legacy_response import LegacyAPIResponse

BATCH_PRICE = 0.5
"""Share of the ordinary price that a batch costs."""

_ENDPOINT: Final = "/v1/chat/completions"
_FILE_SECONDS = 900.0
"""For moving a whole file: 200 MB at 2 Mbit/s."""

_MAX_ID_CHARS = 200

_BATCHES_LOOKED_THROUGH = 100
"""A batch whose making nobody heard of is among the newest."""

_KEY = re.compile(r"[0-9a-f]{64}")

_FINAL_STATES = {
    "completed": BatchState.SUCCEEDED,
    "failed": BatchState.FAILED,
    "expired": BatchState.EXPIRED,
    "cancelled": BatchState.CANCELLED,
}


@dataclass(frozen=True)
class BatchRequest:
    """One line of a batch's file. `key` is its custom_id; `data` ends with a newline; `tokens` and `cost` are what to
    reserve."""

    key: str
    data: bytes
    tokens: int
    cost: float


class OpenAIBatches:
    """Batches of one server, the BatchAPI; any number of threads may call it. Every call raises DescriberError children
    (DescriberUnavailable: try again later) and Cancelled."""

    def __init__(self, server: LMMServer) -> None:
        """Raises DescriberMisconfigured for an address or a key that cannot be used. Connects to nothing yet."""
        self._server = server
        self._half_price = replace(
            server, price_input=server.price_input * BATCH_PRICE, price_output=server.price_output * BATCH_PRICE
        )
        self._connection = Connection(server)
        self._policy = RetryPolicy(server.attempts, server.longest_wait_seconds)

    def request(self, picture: Image.Image, salt: str = "") -> BatchRequest:
        """The request for one picture. Its key is the one that OpenAIDescriber has for the same picture and salt; a
        batch must not hold a key twice."""
        view = View.of(picture, self._server.longest_edge_px)
        key, limit = view.key(self._server, salt), self._server.max_output_tokens
        body = request_body(self._server, view.data_url, Dialect.first(self._server), limit)
        request = {"custom_id": key, "method": "POST", "url": _ENDPOINT, "body": body}
        input_tokens = ABOUT_PROMPT_TOKENS + view.about_tokens
        data = json.dumps(request, separators=(",", ":")).encode() + b"\n"
        return BatchRequest(key, data, input_tokens + limit, price(self._half_price, input_tokens, limit))

    def upload(self, lines: Iterable[bytes], cancelled: Callable[[], bool]) -> str:
        """See BatchAPI; raises ValueError for lines that do not fit in one batch."""
        with tempfile.TemporaryFile() as file:
            count = 0
            for line in lines:
                count += 1
                file.write(line)
                if count > MAX_BATCH_REQUESTS or file.tell() > MAX_BATCH_BYTES:
                    raise ValueError(
                        f"one batch holds {MAX_BATCH_REQUESTS} lines and {MAX_BATCH_BYTES} bytes; split the lines"
                    )
            if not count:
                raise DescriptionUnusable("A batch without lines was not sent.")

            def send() -> object:
                file.seek(0)
                return self._json(
                    lambda client: client.files.with_raw_response.create(
                        file=("requests.jsonl", file), purpose="batch", timeout=_FILE_SECONDS
                    ),
                    cancelled,
                    _FILE_SECONDS,
                )

            return _id_in(self._policy.run(send, cancelled))

    def create(self, file_id: str, cancelled: Callable[[], bool]) -> str:
        """See BatchAPI."""

        def make() -> str:
            # Looked for before every try: the one before may have made it without the answer getting through.
            existing = self._batch_of(file_id, cancelled)
            if existing is not None:
                return existing
            return _id_in(
                self._json(
                    lambda client: client.batches.with_raw_response.create(
                        input_file_id=file_id, endpoint=_ENDPOINT, completion_window="24h"
                    ),
                    cancelled,
                )
            )

        return self._policy.run(make, cancelled)

    def poll(self, batch_id: str, cancelled: Callable[[], bool]) -> BatchStatus:
        """See BatchAPI."""
        body = self._policy.run(
            lambda: self._json(lambda client: client.batches.with_raw_response.retrieve(batch_id), cancelled), cancelled
        )
        return _read_status(batch_id, body, self._connection.secret)

    def results(
        self, status: BatchStatus, cancelled: Callable[[], bool]
    ) -> Iterator[tuple[str, Answer | DescriberError]]:
        """See BatchAPI; `dict()` takes it. Requests without a result (expired, cancelled) may be missing."""
        for file_id in (status.output_file_id, status.error_file_id):
            if file_id is not None:
                # On disk and not in memory, since a full batch's results are about 100 MB.
                with tempfile.TemporaryFile() as file:
                    self._download(file_id, file, cancelled)
                    file.seek(0)
                    while line := file.readline(MAX_BODY_BYTES):
                        result = self._read_result(line)
                        if result is not None:
                            yield result

    def cancel(self, batch_id: str, cancelled: Callable[[], bool]) -> None:
        """Ask the server to stop; poll until the state is final. A batch that has ended already is no error."""
        try:
            self._policy.run(
                lambda: self._json(lambda client: client.batches.with_raw_response.cancel(batch_id), cancelled),
                cancelled,
            )
        except RequestNotTaken:
            if self.poll(batch_id, cancelled).state is BatchState.PENDING:
                raise

    def discard(self, file_ids: Iterable[str], cancelled: Callable[[], bool]) -> None:
        """See BatchAPI."""
        for file_id in file_ids:
            self._policy.run(partial(self._delete, file_id, cancelled), cancelled)

    def close(self) -> None:
        """Close every connection; requests under way end."""
        self._connection.close()

    def _json(
        self,
        request: "Callable[[openai.AsyncOpenAI], Awaitable[LegacyAPIResponse[Any]]]",
        cancelled: Callable[[], bool],
        timeout_seconds: float | None = None,
    ) -> object:
        """The response's body, read by our own code, which is less trusting than the SDK's types."""
        response = self._connection.call(request, cancelled, timeout_seconds or self._server.timeout_seconds)
        return read_json(response.content)

    def _batch_of(self, file_id: str, cancelled: Callable[[], bool]) -> str | None:
        body = self._json(
            lambda client: client.batches.with_raw_response.list(limit=_BATCHES_LOOKED_THROUGH), cancelled
        )
        batches = body.get("data") if isinstance(body, dict) else None
        for batch in batches if isinstance(batches, list) else []:
            if isinstance(batch, dict) and batch.get("input_file_id") == file_id:
                return _id_in(batch)
        return None

    def _delete(self, file_id: str, cancelled: Callable[[], bool]) -> None:
        import openai

        async def request(client: "openai.AsyncOpenAI") -> None:
            try:
                await client.files.with_raw_response.delete(file_id)
            except openai.NotFoundError:
                return

        self._connection.call(request, cancelled, self._server.timeout_seconds)

    def _download(self, file_id: str, file: IO[bytes], cancelled: Callable[[], bool]) -> None:
        async def request(client: "openai.AsyncOpenAI") -> None:
            async with client.files.with_streaming_response.content(file_id, timeout=_FILE_SECONDS) as response:
                async for chunk in response.iter_bytes():
                    file.write(chunk)

        def fetch() -> None:
            file.seek(0)
            file.truncate()
            self._connection.call(request, cancelled, _FILE_SECONDS)

        self._policy.run(fetch, cancelled)

    def _read_result(self, line: bytes) -> tuple[str, Answer | DescriberError] | None:
        """One line of a file of results; None where it names no request of ours."""
        try:
            entry = read_json(line)
        except PassingFailure:
            return None
        if not isinstance(entry, dict) or not _KEY.fullmatch(str(entry.get("custom_id"))):
            return None
        key, response = str(entry["custom_id"]), entry.get("response")
        if not isinstance(response, dict):
            return key, DescriberUnavailable("The batch ended before this picture's turn, or failed at it.")
        if response.get("status_code") != 200:
            return key, judge_body(response.get("status_code"), response.get("body"), self._connection.secret)
        try:
            completion = read_completion(response.get("body"), self._half_price, self._connection.secret)
        except PassingFailure as failure:
            return key, DescriberUnavailable(f"{failure}.")
        except DescriberError as error:
            return key, error
        spent = completion.spent
        tokens = (spent.input_tokens, spent.output_tokens, spent.cost) if spent else (0, 0, 0.0)
        usage = Usage(self._server.model, *tokens, seconds=0.0)
        try:
            description = description_of(completion)
        except DescriberError as error:
            error.usage = usage if spent else None
            return key, error
        notes = () if is_english(description.overall) else (NOT_ENGLISH,)
        return key, Answer(description, usage, notes)


def _read_status(batch_id: str, body: object, secret: str) -> BatchStatus:
    """A batch as the server shows it; what is missing or of another type reads as nothing. `secret` is not quoted."""
    batch = body if isinstance(body, dict) else {}
    counts = batch.get("request_counts")
    counts = counts if isinstance(counts, dict) else {}
    numbers = [counts.get(name) for name in ("total", "completed", "failed")]
    total, completed, failed = (number if type(number) is int and number >= 0 else 0 for number in numbers)
    files = [batch.get(name) for name in ("output_file_id", "error_file_id")]
    output, error = (name if isinstance(name, str) and 0 < len(name) <= _MAX_ID_CHARS else None for name in files)
    state = _FINAL_STATES.get(str(batch.get("status")), BatchState.PENDING)
    message = _first_error(batch.get("errors"), secret) if state is BatchState.FAILED else ""
    return BatchStatus(batch_id, state, total, completed, failed, output, error, message)


def _first_error(errors: object, secret: str) -> str:
    entries = errors.get("data") if isinstance(errors, dict) else None
    first = entries[0] if isinstance(entries, list) and entries else None
    return quote(first.get("message", ""), secret) if isinstance(first, dict) else ""


def _id_in(body: object) -> str:
    """The id of what was made; raises DescriberMisconfigured where the server has no Batch API after all."""
    name = body.get("id") if isinstance(body, dict) else None
    if not isinstance(name, str) or not re.fullmatch(r"[\w.:-]{1,200}", name):
        raise DescriberMisconfigured("The language model's server answered unlike one with files and batches.")
    return name
