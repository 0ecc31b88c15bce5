"""The odd ways of model servers, each with what it has to end as, how many requests that takes and what is charged.

The table in `docs/describer-model.md` is made of these (`python -m tests.lmm_server.quirks`), and a test holds both to
what really happens.
"""

import json
import re
import sys
from dataclasses import dataclass, field
from typing import Any

from tests.lmm_server.words import describe

GOOD_OVERALL = describe(b"")["overall"]
_GOOD = describe(b"")
_TEXT = json.dumps(_GOOD)
_ONCE, _NOTHING, _TWICE = "as used", "no", "as used, both"


@dataclass(frozen=True)
class Quirk:
    """`steps` is played, then `then` for ever. `ends` is "description", "note" (one with a note) or an error's code;
    `charged` is "as used", "as used, both", "as reserved" or "no", of the last request where some are free."""

    name: str
    ends: str
    requests: int
    charged: str
    steps: tuple[Any, ...] = ()
    then: Any = "good"
    kind: str = "openai"
    changes: dict[str, Any] = field(default_factory=dict)


def _say(text: str) -> dict[str, Any]:
    return {"play": "say", "text": text}


def _message(finish_reason: str = "stop", **message: Any) -> dict[str, Any]:
    """A body with this message, and a usage of 400 and 100 tokens."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason}
    usage = {"prompt_tokens": 400, "completion_tokens": 100}
    return {"play": "raw", "body": json.dumps({"choices": [choice], "usage": usage})}


def _error(error: Any, status: int = 200, **more: Any) -> dict[str, Any]:
    return {"play": "raw", "status": status, "body": json.dumps({"error": error} | more)}


def _events(*texts: str, error: Any = None) -> dict[str, Any]:
    lines = [json.dumps({"choices": [{"delta": {"content": text}}]}) for text in texts]
    last: dict[str, Any] = {"choices": [], "usage": {"prompt_tokens": 400, "completion_tokens": 100}}
    lines.append(json.dumps({"error": error} if error else last))
    body = "".join(f"data: {line}\n\n" for line in lines) + "data: [DONE]\n\n"
    return {"play": "raw", "body": body, "content_type": "text/event-stream"}


def _body(body: Any, **more: Any) -> dict[str, Any]:
    return {"play": "raw", "body": body if isinstance(body, str) else json.dumps(body)} | more


def _events_of(*events: Any) -> dict[str, Any]:
    lines = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    return _body(lines, content_type="text/event-stream")


def _anthropic(reason: str = "end_turn", text: str = _TEXT) -> dict[str, Any]:
    content = [{"type": "thinking", "thinking": "A boat?"}, {"type": "text", "text": text}]
    usage = {"input_tokens": 300, "cache_read_input_tokens": 100, "output_tokens": 100}
    return {"type": "message", "role": "assistant", "content": content, "stop_reason": reason, "usage": usage}


def _gemini(reason: str = "STOP", text: str = _TEXT) -> dict[str, Any]:
    parts = [{"text": "A boat?", "thought": True}, {"text": text}]
    usage = {"promptTokenCount": 400, "candidatesTokenCount": 60, "thoughtsTokenCount": 40}
    return {
        "candidates": [{"content": {"parts": parts, "role": "model"}, "finishReason": reason}], "usageMetadata": usage
    }  # fmt: skip


def _ollama(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", "message": {"role": "assistant", "content": text}, "done": bool(more)} | more


def _of_call(name: str) -> dict[str, Any]:
    call = {"name": "describe", "arguments": _TEXT}
    return {"tool_calls": [{"id": "1", "type": "function", "function": call}]} if name == "tools" else {name: call}


_FOREIGN = json.dumps(_GOOD | {"overall": "Ein ruhiger Hafen mit drei Booten auf dem stillen Wasser und einer Mauer."})
_NAMES = ", ".join(item["name"] for item in _GOOD["items"])
_PLAIN = "\n".join([f"{_NAMES}.", *(item["detail"] for item in _GOOD["items"]), GOOD_OVERALL])
_UNAVAILABLE, _WRONG = "describer_unavailable", "describer_misconfigured"

QUIRKS: tuple[Quirk, ...] = (
    # Where the text is.
    Quirk(
        "content as a list of parts", "description", 1, _ONCE, then=_message(content=[{"type": "text", "text": _TEXT}])
    ),
    Quirk(
        "content as parts that split the JSON",
        "description",
        1,
        _ONCE,
        then=_message(content=[{"type": "text", "text": _TEXT[:50]}, {"type": "text", "text": _TEXT[50:]}]),
    ),
    Quirk(
        "`reasoning_content`, and no content",
        "description",
        1,
        _ONCE,
        then=_message(content=None, reasoning_content=f"Let me look. {_TEXT}"),
    ),
    Quirk("`reasoning`, and an empty content", "description", 1, _ONCE, then=_message(content="", reasoning=_TEXT)),
    Quirk(
        "thoughts beside the answer",
        "description",
        1,
        _ONCE,
        then=_message(content=_TEXT, reasoning_content="I think {of} a boat."),
    ),
    Quirk("`<think>` before the answer", "description", 1, _ONCE, then="thinking"),
    Quirk("a tool call instead of content", "description", 1, _ONCE, then=_message(content=None, **_of_call("tools"))),
    Quirk(
        "the older `function_call`", "description", 1, _ONCE, then=_message(content=None, **_of_call("function_call"))
    ),
    Quirk("content as the object itself", "description", 1, _ONCE, then=_message(content=_GOOD)),
    Quirk(
        "server-sent events though none were asked for", "description", 1, _ONCE, then=_events(_TEXT[:60], _TEXT[60:])
    ),
    Quirk(
        "a server that only streams",
        "description",
        2,
        _ONCE,
        steps=(_error({"message": "This model only supports stream=true"}, 400),),
        then=_events(_TEXT),
    ),
    Quirk(
        "text/plain as the type of a JSON body",
        "description",
        1,
        _ONCE,
        then=_message(content=_TEXT) | {"content_type": "text/plain"},
    ),
    # How the JSON is written.
    Quirk("a code fence", "description", 1, _ONCE, then="fenced"),
    Quirk("sentences around the JSON", "description", 1, _ONCE, then=_say(f"Sure! {_TEXT} I hope this helps.")),
    Quirk(
        "braces in the sentences around it",
        "description",
        1,
        _ONCE,
        then=_say(f"In the form {{items, overall}}: {_TEXT} {{end}}"),
    ),
    Quirk("a line break in a string", "description", 1, _ONCE, then=_say(_TEXT.replace(" scene", "\nscene", 1))),
    Quirk("a comma too many", "description", 1, _ONCE, then=_say(_TEXT.replace("]", ",]")[:-1] + ",}")),
    Quirk("an object as Python writes it", "description", 1, _ONCE, then=_say(repr(_GOOD))),
    Quirk("a comment in the JSON", "description", 1, _ONCE, then=_say(_TEXT.replace('"overall"', '// all\n"overall"'))),
    Quirk("a backslash that JSON does not know", "description", 1, _ONCE, then=_say(_TEXT.replace("A ", "A\\ ", 1))),
    Quirk("no brace at the end", "description", 1, _ONCE, then=_say(_TEXT[:-1])),
    Quirk(
        "the overall text as a list",
        "description",
        1,
        _ONCE,
        then=_say(json.dumps(_GOOD | {"overall": [GOOD_OVERALL]})),
    ),
    Quirk("a wrapper object", "description", 1, _ONCE, then=_say(json.dumps({"description": _GOOD}))),
    Quirk("two wrappers", "description", 1, _ONCE, then=_say(json.dumps({"result": {"data": _GOOD}}))),
    Quirk("a list of one object", "description", 1, _ONCE, then=_say(json.dumps([_GOOD]))),
    Quirk("JSON in a string", "description", 1, _ONCE, then=_say(json.dumps(_TEXT))),
    Quirk("JSON in a string in an object", "description", 1, _ONCE, then=_say(json.dumps({"answer": _TEXT}))),
    Quirk(
        "capitals in the names of the fields",
        "description",
        1,
        _ONCE,
        then=_say(json.dumps({"Items": _GOOD["items"], "Overall": GOOD_OVERALL})),
    ),
    Quirk("the published table's plain form", "description", 1, _ONCE, then=_say(_PLAIN)),
    Quirk(
        "one item that is no object",
        "description",
        1,
        _ONCE,
        then=_say(json.dumps(_GOOD | {"items": [*_GOOD["items"], "boat"]})),
    ),
    Quirk(
        "an item without a detail",
        "description",
        1,
        _ONCE,
        then=_say(json.dumps(_GOOD | {"items": [{"name": "boat"}, *_GOOD["items"][1:]]})),
    ),
    Quirk("items that are no list", "description", 1, _ONCE, then=_say(json.dumps(_GOOD | {"items": "none"}))),
    Quirk("more words than were asked for", "description", 1, _ONCE, then="overlong"),
    Quirk("names of fields without quotes", "description", 1, _ONCE, then=_say(re.sub(r'"(\w+)":', r"\1:", _TEXT))),
    # Bodies of other interfaces, which gateways hand on.
    Quirk("a message of Anthropic's", "description", 1, _ONCE, then=_body(_anthropic())),
    Quirk("Anthropic's, refused", "description_refused", 1, _ONCE, then=_body(_anthropic("refusal", ""))),
    Quirk(
        "Anthropic's events",
        "description",
        1,
        _ONCE,
        then=_events_of(
            {"type": "message_start", "message": _anthropic(text="") | {"content": []}},
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": _TEXT[:60]}},
            {"type": "ping"},
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": _TEXT[60:]}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 100}},
        ),
    ),
    Quirk(
        "Anthropic's error in a 200",
        _UNAVAILABLE,
        3,
        _NOTHING,
        then=_error({"type": "overloaded_error", "message": "Overloaded"}, type="error"),
    ),
    Quirk("an answer of Gemini's", "description", 1, _ONCE, then=_body(_gemini())),
    Quirk("Gemini's, cut at the limit", "description_unusable", 2, _TWICE, then=_body(_gemini("MAX_TOKENS", "{"))),
    Quirk("Gemini's, stopped for safety", "description_refused", 1, _ONCE, then=_body(_gemini("SAFETY", ""))),
    Quirk(
        "Gemini's list of pieces",
        "description",
        1,
        _ONCE,
        then=_body([_gemini(text=_TEXT[:60]), _gemini(text=_TEXT[60:])]),
    ),
    Quirk(
        "Google's error as a list, then an answer",
        "description",
        2,
        _ONCE,
        steps=(_body([{"error": {"code": 503, "status": "UNAVAILABLE", "message": "busy"}}], status=503),),
    ),
    Quirk(
        "an answer of Ollama's",
        "description",
        1,
        _ONCE,
        then=_body(_ollama(_TEXT, done_reason="stop", prompt_eval_count=400, eval_count=100)),
    ),
    Quirk(
        "Ollama's in lines",
        "description",
        1,
        _ONCE,
        then=_body(
            "\n".join(
                json.dumps(piece)
                for piece in (
                    _ollama(_TEXT[:60]),
                    _ollama(_TEXT[60:]),
                    _ollama("", done_reason="stop", prompt_eval_count=400, eval_count=100),
                )
            ),
            content_type="application/x-ndjson",
        ),
    ),
    Quirk(
        "an answer of OpenAI's newer interface",
        "description",
        1,
        _ONCE,
        then=_body(
            {
                "object": "response",
                "output": [
                    {"type": "reasoning", "summary": []},
                    {"type": "message", "content": [{"type": "output_text", "text": _TEXT}]},
                ],
                "usage": {"input_tokens": 400, "output_tokens": 100},
            }
        ),
    ),
    Quirk(
        "an answer of Bedrock's",
        "description",
        1,
        _ONCE,
        then=_body(
            {
                "output": {"message": {"role": "assistant", "content": [{"text": _TEXT}]}},
                "stopReason": "end_turn",
                "usage": {"inputTokens": 400, "outputTokens": 100},
            }
        ),
    ),
    Quirk(
        "the text alone as `generated_text`", "description", 1, "as reserved", then=_body([{"generated_text": _TEXT}])
    ),
    Quirk("the description as the body", "description", 1, "as reserved", then=_body(_TEXT)),
    Quirk(
        "a comment of a stream before the JSON",
        "description",
        1,
        _ONCE,
        then=_body(": keep-alive\n\n: keep-alive\n\n" + _message(content=_TEXT)["body"]),
    ),
    # Errors with the status of a success.
    Quirk("429 in a 200, then an answer", "description", 2, _ONCE, steps=(_error({"code": 429, "message": "slow"}),)),
    Quirk("502 in a 200, for ever", _UNAVAILABLE, 3, _NOTHING, then=_error({"code": 502, "message": "provider"})),
    Quirk("an error in a 200 without a code", _UNAVAILABLE, 3, _NOTHING, then=_error("upstream failed")),
    Quirk(
        "an error in the choice of a 200",
        _UNAVAILABLE,
        3,
        _NOTHING,
        then={"play": "raw", "body": json.dumps({"choices": [{"error": {"code": 502, "message": "x"}}]})},
    ),
    Quirk("`finish_reason: error`", _UNAVAILABLE, 3, _NOTHING, then=_message("error", content="")),
    Quirk("401 in a 200", _WRONG, 1, _NOTHING, then=_error({"code": 401, "message": "no"})),
    Quirk("a content filter in a 200", "description_refused", 1, _NOTHING, then=_error({"code": "content_filter"})),
    Quirk(
        "no credit in a 200",
        "description_budget_exhausted",
        1,
        _NOTHING,
        then=_error({"code": "insufficient_quota", "message": "pay"}),
    ),
    Quirk("no credit as 402", "description_budget_exhausted", 1, _NOTHING, then=_error({"message": "pay"}, 402)),
    Quirk("an error among the events of a stream", _UNAVAILABLE, 3, _NOTHING, then=_events(error={"code": 503})),
    # Answers of no use.
    Quirk(
        "no picture seen, then one", "description", 2, _TWICE, steps=(_say("I don't see any image. Please upload it."),)
    ),
    Quirk(
        "no picture seen, for ever",
        "description_unusable",
        2,
        _TWICE,
        then=_say(json.dumps(_GOOD | {"overall": "No image was provided, so I cannot say what is in it."})),
    ),
    Quirk("another language, then English", "description", 2, _TWICE, steps=(_say(_FOREIGN),)),
    Quirk("another language, for ever", "note", 2, _TWICE, then=_say(_FOREIGN)),
    Quirk("another language, then nothing of use", "note", 2, _TWICE, steps=(_say(_FOREIGN),), then="empty"),
    Quirk("a refusal in words", "description_refused", 1, _ONCE, then="refusal_in_words"),
    Quirk("the field `refusal`", "description_refused", 1, _ONCE, then="refusal"),
    Quirk("an empty answer, then a good one", "description", 2, _TWICE, steps=("empty",)),
    Quirk("JSON that breaks off, for ever", "description_unusable", 2, _TWICE, then="broken_json"),
    Quirk("cut at the limit, then enough", "description", 2, _TWICE, then={"play": "cut", "enough": 2000}),
    # Errors as such.
    Quirk(
        "`detail` in the place of `error`",
        _WRONG,
        3,
        _NOTHING,
        then={"play": "raw", "status": 422, "body": json.dumps({"detail": "the picture is odd"})},
    ),
    Quirk(
        "`detail` as a list that names the limit",
        "description",
        2,
        _ONCE,
        steps=({"play": "raw", "status": 422, "body": json.dumps({"detail": [{"msg": "max_tokens: extra field"}]})},),
    ),
    Quirk("no `response_format` at all", "description", 3, _ONCE, kind="old"),
    Quirk("only `max_completion_tokens`", "description", 2, _ONCE, kind="reasoning"),
    Quirk(
        "a page of a proxy",
        _UNAVAILABLE,
        3,
        "as reserved",
        then={"play": "raw", "body": "<html>Bad gateway</html>", "content_type": "text/html"},
    ),
    Quirk("503, then an answer", "description", 2, _ONCE, steps=({"play": "status", "status": 503},)),
    Quirk("a connection that is reset", _UNAVAILABLE, 3, "as reserved", then="reset"),
    Quirk("no `usage`", "description", 1, "as reserved", then={"play": "good", "usage": None}),
    Quirk(
        "a compressed body",
        "description_unusable",
        1,
        "as reserved",
        then={"play": "raw", "body": "x", "headers": {"Content-Encoding": "gzip"}},
    ),
    Quirk(
        "a redirect", _WRONG, 1, _NOTHING, then={"play": "raw", "status": 307, "headers": {"Location": "/elsewhere"}}
    ),
)


def table() -> str:
    """The quirks as Markdown."""
    words = {"description": "the description", "note": "the description, with a note"}
    rows = ["| the server's way | ends as | requests | charged |", "|---|---|---|---|"]
    for quirk in QUIRKS:
        ends = words.get(quirk.ends, f"`{quirk.ends}`")
        rows.append(f"| {quirk.name} | {ends} | {quirk.requests} | {quirk.charged} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
