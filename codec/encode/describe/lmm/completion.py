"""The body of a chat completion, read without trust in its shape, and what it cost."""

import json
from dataclasses import dataclass

from codec.description import Description
from codec.encode.describe.lmm.answer import read_description
from codec.encode.describe.lmm.failures import PassingFailure
from codec.errors import DescriptionRefused, DescriptionUnusable
from codec.language_model import LMMServer

_MOST_TOKENS = 10_000_000
"""No request costs more; a count beyond it is taken for none."""


@dataclass(frozen=True)
class Spent:
    """Tokens of one or several answers, and their price; both are 0 as far as the server did not tell."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0

    @property
    def tokens(self) -> int:
        """Both kinds together, as limits on tokens a minute count."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(
            self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens, self.cost + other.cost
        )


@dataclass(frozen=True)
class Completion:
    """One answer. `spent` is None where the server did not say what it used; `refusal` is the error to raise."""

    text: str
    is_cut: bool
    spent: Spent | None
    refusal: DescriptionRefused | None = None


def price(server: LMMServer, input_tokens: int, output_tokens: int) -> float:
    """What these tokens cost, in the currency of the settings."""
    return (input_tokens * server.price_input + output_tokens * server.price_output) / 1_000_000


def read_json(body: bytes) -> object:
    """A body as JSON; raises PassingFailure where it is none, as when a proxy answers in the server's place."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise PassingFailure("The language model's server answered, but not with JSON", charged=True) from None


def read_completion(body: object, server: LMMServer) -> Completion:
    """The first choice of a chat completion. What is missing or of another type reads as an empty answer."""
    completion = body if isinstance(body, dict) else {}
    spent = _read_usage(completion.get("usage"), server)
    choices = completion.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    content, reason = message.get("content"), choice.get("finish_reason")
    refusal = None
    if message.get("refusal"):
        refusal = DescriptionRefused("The language model refused to describe the picture.")
    elif reason == "content_filter":
        refusal = DescriptionRefused("A content filter cut the language model's answer off.")
    return Completion(content if isinstance(content, str) else "", reason == "length", spent, refusal)


def _read_usage(usage: object, server: LMMServer) -> Spent | None:
    if not isinstance(usage, dict):
        return None
    counts = [usage.get("prompt_tokens"), usage.get("completion_tokens")]
    used = [count for count in counts if type(count) is int and 0 <= count <= _MOST_TOKENS]
    return Spent(used[0], used[1], price(server, used[0], used[1])) if len(used) == 2 else None


def description_of(completion: Completion) -> Description:
    """The description in an answer; raises DescriptionRefused and DescriptionUnusable.

    An answer that reached the limit of tokens is good if its JSON was complete by then.
    """
    if completion.refusal is not None:
        raise completion.refusal
    try:
        return read_description(completion.text)
    except DescriptionUnusable:
        if completion.is_cut:
            raise DescriptionUnusable(
                "The model's answer was cut off at the limit of tokens; models that think first need a higher one."
            ) from None
        raise
