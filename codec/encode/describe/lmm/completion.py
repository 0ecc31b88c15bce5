"""The body of a chat completion, read without trust in its shape, and what it cost."""

import json
from dataclasses import dataclass
from typing import Any

from codec.description import Description
from codec.encode.describe.lmm.answer import read_description
from codec.encode.describe.lmm.failures import PassingFailure, judge_error
from codec.encode.describe.lmm.other_interfaces import as_completion
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
    """A body as JSON, after comments of a stream that kept the line open, or the completion that the events of one, or
    JSON in lines, add up to.

    Raises PassingFailure where it is neither, as when a proxy answers in the server's place.
    """
    lines = body.decode("utf-8", "replace").splitlines()
    for attempt in (body, "\n".join(line for line in lines if not line.startswith(":"))):
        try:
            return json.loads(attempt)
        except (ValueError, RecursionError):
            continue
    events = [event for event in map(_event_in, lines) if event is not None]
    if not events:
        raise PassingFailure("The language model's server answered, but not with JSON", charged=True)
    return _whole_of(events)


def _whole_of(events: list[dict[str, Any]]) -> dict[str, Any]:
    """A chat completion from the pieces of a stream, as servers send it that know nothing else."""
    text, reason, error = "", None, None
    usage: dict[str, Any] = {}
    for event in events:
        error = _error_in(event, {}) or error
        piece = as_completion(event)
        choice, told = _first(piece.get("choices")), piece.get("usage")
        # Anthropic tells the two kinds of tokens in different events.
        usage |= told if isinstance(told, dict) else {}
        # Some send the whole message at the end, a few in the place of all parts; elsewhere messages are the parts.
        is_whole = piece is event and bool(text)
        delta = choice.get("delta") or ({} if is_whole else choice.get("message"))
        text += _text_in(delta.get("content")) if isinstance(delta, dict) else ""
        reason = choice.get("finish_reason") or reason
    choices = [{"message": {"content": text}, "finish_reason": reason}]
    return {"choices": choices, "usage": usage, "error": error}


def _event_in(line: str) -> dict[str, Any] | None:
    """The object of an event; None for a line that has none."""
    data = line.removeprefix("data:")
    if data is line and not line.startswith("{"):
        return None
    try:
        event = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def read_completion(body: object, server: LMMServer, secret: str = "") -> Completion:
    """The first choice of a chat completion. What is missing or of another type reads as an empty answer.

    Raises PassingFailure and DescriberError for an error that comes with the status of a success, as gateways send it.
    """
    if isinstance(body, list):
        # Google's errors come as lists of one, and its streams as lists of their pieces.
        body = _whole_of([piece for piece in body if isinstance(piece, dict)])
    completion = as_completion(body) if isinstance(body, dict) else {}
    spent = _read_usage(completion.get("usage"), server)
    choice = _first(completion.get("choices"))
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    text, reason = _answer_in(choice, message), choice.get("finish_reason")
    error = _error_in(completion, choice)
    if (error and not text) or reason == "error":
        raise judge_error(error, secret)
    refusal = None
    if message.get("refusal") or _is_refused(message.get("content")):
        refusal = DescriptionRefused("The language model refused to describe the picture.")
    elif reason == "content_filter":
        refusal = DescriptionRefused("A content filter cut the language model's answer off.")
    return Completion(text, reason == "length", spent, refusal)


def _error_in(completion: dict[str, Any], choice: dict[str, Any]) -> object:
    """The error in a body, in whichever form gateways have; false where there is none."""
    is_error = completion.get("object") == "error" or completion.get("success") is False
    return (
        completion.get("error")
        or _first(completion.get("errors"))
        or choice.get("error")
        or (completion if is_error else None)
    )


def _is_refused(content: object) -> bool:
    """Whether a list of parts has one that refuses."""
    parts = content if isinstance(content, list) else []
    return any(isinstance(part, dict) and part.get("type") == "refusal" for part in parts)


def _first(entries: object) -> dict[str, Any]:
    entry = entries[0] if isinstance(entries, list) and entries else None
    return entry if isinstance(entry, dict) else {}


def _answer_in(choice: dict[str, Any], message: dict[str, Any]) -> str:
    """The text of an answer, in whichever of the fields that servers use for it."""
    calls = [_first(message.get("tool_calls")).get("function"), message.get("function_call")]
    arguments = [call.get("arguments") for call in calls if isinstance(call, dict)]
    places = (message.get("content"), *arguments, choice.get("text"))
    thoughts = (message.get("reasoning_content"), message.get("reasoning"))
    texts = (_text_in(place) for place in (*places, *thoughts))
    return next((text for text in texts if text.strip()), "")


def _text_in(content: object) -> str:
    """A text, or the texts of a list of parts; arguments of a call may come as the object itself."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        return json.dumps(content)
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    return "".join(text for text in texts if isinstance(text, str))


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
