"""Bodies in the forms of other interfaces, which gateways hand on as they are, read as chat completions: Anthropic's
Messages, Gemini's generateContent, Ollama's chat and generate, Bedrock's Converse, Cohere's chat, OpenAI's Responses,
and the text or the description alone.

Whole bodies and the pieces of streams alike; nothing of their shape is trusted.
"""

import json
from typing import Any

_CUT = frozenset({"max_tokens", "length", "model_length", "max_output_tokens"})
_FILTERED = frozenset(
    {
        "safety", "prohibited_content", "blocklist", "spii", "image_safety", "recitation", "refusal",
        "content_filter", "content_filtered", "guardrail_intervened", "error_toxic",
    }
)  # fmt: skip
"""What these interfaces call the end at the limit of tokens, and by a filter."""

_PLAIN = ("response", "generated_text", "content", "output_text", "completion", "text", "answer")
"""Where simple servers have the text alone."""

_COUNTS = (
    (("prompt_tokens",), ("completion_tokens",)),
    (("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"), ("output_tokens",)),
    (("promptTokenCount",), ("candidatesTokenCount", "thoughtsTokenCount")),
    (("prompt_eval_count",), ("eval_count",)),
    (("inputTokens",), ("outputTokens",)),
)
"""Names of the tokens that were read and written; several add up."""

_WRAPPERS = ("data", "result", "output", "response", "body")
"""Where gateways have a whole body within one of their own."""


def as_completion(body: dict[str, Any]) -> dict[str, Any]:
    """The body as a chat completion, with what it has of text, reason of the end and usage; unchanged where it is one
    already, or none of the known forms."""
    for inner in (_object(body.get(name)) for name in _WRAPPERS):
        unwrapped = inner if "choices" in inner else _translated(inner)
        if "choices" in unwrapped and "choices" not in body:
            own = {"usage": _usage_of(body), "error": body.get("error")}
            return unwrapped | {name: unwrapped.get(name) or value for name, value in own.items()}
    return _translated(body)


def _translated(body: dict[str, Any]) -> dict[str, Any]:
    content, reason = _content_of(body), _reason_of(body)
    usage = _usage_of(body)
    if "choices" in body or (content is None and reason is None and usage is None):
        return body
    choice = {"message": {"content": content}, "finish_reason": reason}
    return {"choices": [choice], "usage": usage, "error": body.get("error")}


def _content_of(body: dict[str, Any]) -> object:
    """The text, or the list of its parts."""
    candidate, message, delta = _first(body.get("candidates")), _object(body.get("message")), body.get("delta")
    if candidate:
        return _spoken(_object(candidate.get("content")).get("parts"))
    if isinstance(body.get("output"), list):
        parts = [part for entry in body["output"] for part in _parts(_object(entry).get("content"))]
        return _spoken(parts)
    if body.get("role") == "assistant" and "content" in body:
        return _spoken(body["content"])
    if message and ("done" in body or "finish_reason" in body):
        return message.get("content")
    if "output" in body:
        return _spoken(_object(_object(body["output"]).get("message")).get("content"))
    if isinstance(delta, str):
        return delta if str(body.get("type")).endswith("output_text.delta") else None
    if delta is not None:
        return _object(delta).get("text")
    if "overall" in body:
        return json.dumps(body)
    return next((body[name] for name in _PLAIN if isinstance(body.get(name), str)), None)


def _spoken(content: object) -> object:
    """The parts without a model's thoughts."""
    if not isinstance(content, list):
        return content
    return [part for part in content if not _object(part).get("thought")]


def _reason_of(body: dict[str, Any]) -> str | None:
    reasons = (
        _first(body.get("candidates")).get("finishReason"),
        _object(body.get("promptFeedback")).get("blockReason"),
        _object(body.get("incomplete_details")).get("reason"),
        _object(body.get("delta")).get("stop_reason"),
        *(body.get(name) for name in ("stop_reason", "stopReason", "done_reason", "finish_reason")),
    )
    reason = next((reason for reason in reasons if isinstance(reason, str)), None)
    if reason is None:
        return None
    is_blocked = "blockReason" in _object(body.get("promptFeedback"))
    if is_blocked or reason.casefold() in _FILTERED:
        return "content_filter"
    return "length" if reason.casefold() in _CUT else reason


def _usage_of(body: dict[str, Any]) -> dict[str, int] | None:
    """The tokens in OpenAI's names, those of both kinds that are told; None where neither is."""
    usage = _object(body.get("usage"))
    inner = _object(_object(body.get("message")).get("usage"))
    places = (usage, _object(usage.get("tokens")), inner, _object(body.get("usageMetadata")), body)
    for names, place in ((names, place) for place in places for names in _COUNTS):
        counts = [_sum(place, kind) for kind in names]
        if counts != [None, None]:
            told = zip(("prompt_tokens", "completion_tokens"), counts, strict=True)
            return {name: count for name, count in told if count is not None}
    return None


def _sum(place: dict[str, Any], names: tuple[str, ...]) -> int | None:
    counts = [place[name] for name in names if type(place.get(name)) is int]
    return sum(counts) if counts else None


def _parts(content: object) -> list[object]:
    return content if isinstance(content, list) else [content]


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _first(entries: object) -> dict[str, Any]:
    return _object(entries[0]) if isinstance(entries, list) and entries else {}
