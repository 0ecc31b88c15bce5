"""Buys one description of a picture from a multimodal model: asks, checks, retries, pays. Knows no fallback."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from PIL import Image

from codec.description import Description
from codec.encode.describe.lmm.answer import is_english
from codec.encode.describe.lmm.completion import Completion, Spent, description_of, price, read_completion, read_json
from codec.encode.describe.lmm.connection import Connection
from codec.encode.describe.lmm.failures import RequestNotTaken, may_be_charged
from codec.encode.describe.lmm.prompt import ABOUT_PROMPT_TOKENS, Dialect, request_body
from codec.encode.describe.lmm.retry import RetryPolicy
from codec.encode.describe.lmm.view import View
from codec.errors import DescriberError, DescriptionUnusable
from codec.language_model import Answer, AnswerCache, LMMServer, Permit, RateLimiter
from codec.usage import Usage

if TYPE_CHECKING:
    import openai

_LONGER = 4
"""Times the limit of tokens, after an answer that was cut: mostly a reasoning model's thoughts have used it up."""

_MOST_LEARNT_TOKENS = 65_536
"""A server's count beyond this is not believed when the next request is reserved for."""


NOT_ENGLISH = "The language model answered in another language than English, which locating and restoring read badly."

_NOTHING = Spent()


@dataclass
class _Purchase:
    """How far the buying of one description is."""

    dialect: Dialect
    max_output_tokens: int
    spent: Spent = _NOTHING
    is_last_chance: bool = False
    seconds: float = 0.0
    in_another_language: Description | None = None
    """A description that is good but for its language, kept for when no better one comes."""


@dataclass
class _Learnt:
    """What is found out on the way about a server. Each is only ever replaced whole, so threads need no lock."""

    dialect: Dialect
    most_input_tokens: int = 0


@dataclass(frozen=True)
class _Exchange:
    """A request that was answered and whose permit is still open. `used` is what to settle."""

    completion: Completion
    seconds: float
    permit: Permit
    used: Spent


class OpenAIDescriber:
    """Describes pictures through one shared client; any number of threads may call it at once."""

    def __init__(self, server: LMMServer, cache: AnswerCache, limiter: RateLimiter) -> None:
        """Raises DescriberMisconfigured for an address or a key that cannot be used. Connects to nothing yet."""
        self._server = server
        self._cache = cache
        self._limiter = limiter
        self._connection = Connection(server)
        self._policy = RetryPolicy(server.attempts, server.longest_wait_seconds)
        self._learnt = _Learnt(Dialect.first(server))
        self._salt = ""

    def apart(self, salt: str, limiter: RateLimiter) -> Self:
        """The same describer, over the same connections, with answers of its own in the cache and this limiter."""
        other = copy.copy(self)
        other._salt, other._limiter = salt, limiter
        return other

    def key(self, picture: Image.Image) -> str:
        """Key of this picture's answer in the cache: 64 hexadecimal digits."""
        return View.of(picture, self._server.longest_edge_px).key(self._server, self._salt)

    def describe(self, picture: Image.Image, cancelled: Callable[[], bool]) -> Answer:
        """A description within the limits, from the cache or bought.

        Raises DescriberUnavailable, DescriberMisconfigured, DescriptionRefused, DescriptionUnusable, BudgetExhausted,
        and Cancelled, within a fifth of a second of being told to stop as far as the waiting is done here.
        """
        view = View.of(picture, self._server.longest_edge_px)
        key = view.key(self._server, self._salt)
        cached = self._cache.claim(key, cancelled)
        if cached is not None:
            return cached
        purchase = _Purchase(self._learnt.dialect, self._server.max_output_tokens)
        try:
            return self._policy.run(lambda: self._buy(key, view, purchase, cancelled), cancelled, self._limiter.pause)
        except DescriberError as error:
            if purchase.in_another_language is not None:
                return self._keep(key, purchase, purchase.in_another_language, NOT_ENGLISH)
            if purchase.spent != _NOTHING:
                error.usage = self._usage(purchase.spent, purchase.seconds)
            self._cache.release(key)
            raise
        except BaseException:
            self._cache.release(key)
            raise

    def close(self) -> None:
        """Close every connection; requests under way end."""
        self._connection.close()

    def _buy(self, key: str, view: View, purchase: _Purchase, cancelled: Callable[[], bool]) -> Answer:
        """Ask until there is a good answer, or a second bad one. Raises PassingFailure; may then be called again."""
        while True:
            try:
                exchange = self._ask(view, purchase, cancelled)
            except RequestNotTaken as refusal:
                purchase.dialect = purchase.dialect.after(refusal)
                continue
            # A server that took this form once has something else to object to when it refuses a later request.
            self._learnt.dialect = replace(purchase.dialect, may_weaken=False)
            purchase.spent += exchange.completion.spent or _NOTHING
            purchase.seconds = exchange.seconds
            try:
                description = description_of(exchange.completion)
                if is_english(description.overall):
                    return self._keep(key, purchase, description)
                if purchase.is_last_chance:
                    return self._keep(key, purchase, description, NOT_ENGLISH)
                purchase.in_another_language = description
                purchase.is_last_chance = True
            except DescriptionUnusable:
                if purchase.is_last_chance:
                    raise
                purchase.is_last_chance = True
                if exchange.completion.is_cut:
                    purchase.max_output_tokens *= _LONGER
            finally:
                exchange.permit.settle(exchange.used.tokens, exchange.used.cost)

    def _keep(self, key: str, purchase: _Purchase, description: Description, *notes: str) -> Answer:
        """The answer, written down before anything else is done, since a process may die at any line."""
        answer = Answer(description, self._usage(purchase.spent, purchase.seconds), notes)
        self._cache.store(key, answer)
        return answer

    def _ask(self, view: View, purchase: _Purchase, cancelled: Callable[[], bool]) -> _Exchange:
        """One request and its answer, good or bad; every failure has closed its permit."""
        most = self._estimate(view, purchase.max_output_tokens)
        body = request_body(self._server, view.data_url, purchase.dialect, purchase.max_output_tokens)
        # A request that is permitted must go at once, or the server counts it into a later minute.
        self._connection.open()
        permit = self._limiter.wait(most.tokens, most.cost, cancelled)
        try:
            content, seconds = self._connection.call(
                lambda client: _post(client, body), cancelled, self._server.timeout_seconds
            )
            completion = read_completion(read_json(content), self._server, self._connection.secret)
        except BaseException as error:
            # Nobody knows what an unanswered request cost; the cap holds only if it counts for what was reserved.
            if may_be_charged(error):
                permit.settle(most.tokens, most.cost)
            else:
                permit.cancel()
            raise
        if completion.spent is not None:
            learnt = min(completion.spent.input_tokens, _MOST_LEARNT_TOKENS)
            self._learnt.most_input_tokens = max(self._learnt.most_input_tokens, learnt)
        return _Exchange(completion, seconds, permit, completion.spent or most)

    def _estimate(self, view: View, max_output_tokens: int) -> Spent:
        """The most that a request is expected to use."""
        input_tokens = max(ABOUT_PROMPT_TOKENS + view.about_tokens, self._learnt.most_input_tokens)
        return Spent(input_tokens, max_output_tokens, price(self._server, input_tokens, max_output_tokens))

    def _usage(self, spent: Spent, seconds: float) -> Usage:
        return Usage(self._server.model, spent.input_tokens, spent.output_tokens, spent.cost, seconds)


async def _post(client: "openai.AsyncOpenAI", body: dict[str, Any]) -> tuple[bytes, float]:
    """The body of the response, unread by the SDK, whose types would believe it; and the latency in seconds."""
    started = time.monotonic()
    response = await client.chat.completions.with_raw_response.create(**body)
    return response.content, time.monotonic() - started
