"""The parts that the server can play for a chat request, by name. Each writes a whole response, or breaks off."""

import json
import socket
import struct
import time
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.lmm_server.state import completion, picture_of
from tests.lmm_server.words import describe, describe_as_text

Play = Callable[[BaseHTTPRequestHandler, dict[str, Any], dict[str, Any]], None]
"""Called with the handler, the request's body and the script's step."""


def send(
    handler: BaseHTTPRequestHandler,
    status: int,
    content: bytes | object,
    headers: dict[str, str] | None = None,
    content_type: str = "application/json",
) -> None:
    """A response with a body; anything but bytes is sent as JSON."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", content_type)
    handler.send_header("Content-Length", str(len(data)))
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(data)


def send_error(
    handler: BaseHTTPRequestHandler,
    status: int,
    message: str,
    code: str | None = None,
    headers: dict[str, str] | None = None,
) -> None:
    """An error as OpenAI words it."""
    error = {"message": message, "type": "played_error", "param": None, "code": code}
    send(handler, status, {"error": error}, headers)


def _text(words: Callable[[bytes], str | None], finish_reason: str = "stop", **message: Any) -> Play:
    def play(handler: BaseHTTPRequestHandler, body: dict[str, Any], step: dict[str, Any]) -> None:
        answer = completion(words(picture_of(body) or b""), body, finish_reason)
        answer["choices"][0]["message"].update(message)
        if step.get("usage", True) is not True:
            answer["usage"] = step["usage"]
        send(handler, 200, answer)

    return play


def _say(handler: BaseHTTPRequestHandler, body: dict[str, Any], step: dict[str, Any]) -> None:
    """Whatever the script's step has as `text`."""
    _text(lambda picture: step["text"], step.get("finish_reason", "stop"))(handler, body, step)


def _raw(handler: BaseHTTPRequestHandler, body: dict[str, Any], step: dict[str, Any]) -> None:
    """A body of the script's own."""
    content = step.get("body", "").encode() if isinstance(step.get("body", ""), str) else step["body"]
    send(handler, step.get("status", 200), content, step.get("headers"), step.get("content_type", "application/json"))


def _status(handler: BaseHTTPRequestHandler, body: dict[str, Any], step: dict[str, Any]) -> None:
    """An error status; `retry_after` in seconds, `retry_after_ms`, or `retry_after_date` in seconds from now."""
    headers = {}
    if "retry_after" in step:
        headers["Retry-After"] = str(step["retry_after"])
    if "retry_after_ms" in step:
        headers["retry-after-ms"] = str(step["retry_after_ms"])
    if "retry_after_date" in step:
        headers["Retry-After"] = formatdate(time.time() + step["retry_after_date"], usegmt=True)
    message = step.get("message", f"played status {step['status']}")
    send_error(handler, step["status"], message, step.get("code"), headers)


def _echo_key(handler: BaseHTTPRequestHandler, body: dict[str, Any], step: dict[str, Any]) -> None:
    """Refuses the key and repeats it, as careless servers do."""
    said = f"Incorrect API key provided: {handler.headers.get('Authorization')}"
    send_error(handler, step.get("status", 401), said, "invalid_api_key")


def _cut(handler: BaseHTTPRequestHandler, body: dict[str, Any], step: dict[str, Any]) -> None:
    """An answer that ends at the limit of tokens, unless the limit is at least `enough` tokens."""
    limit = body.get("max_completion_tokens", body.get("max_tokens", 0))
    if limit >= step.get("enough", 1 << 30):
        PLAYS["good"](handler, body, step)
    else:
        _text(lambda picture: describe_as_text(picture)[:100], "length")(handler, body, step)


def _reset(handler: BaseHTTPRequestHandler, body: dict[str, Any], step: dict[str, Any]) -> None:
    """Half a body, then RST."""
    data = json.dumps(completion(describe_as_text(picture_of(body) or b""), body)).encode()
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data[: len(data) // 2])
    handler.wfile.flush()
    # Closing with data unsent and no time to linger makes the kernel send RST instead of FIN.
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()


def _hang(handler: BaseHTTPRequestHandler, body: dict[str, Any], step: dict[str, Any]) -> None:
    """Says nothing for `seconds`, then closes; tells in the log when the client went away before."""
    handler.close_connection = True
    entry: dict[str, Any] = handler.entry  # type: ignore[attr-defined]
    handler.connection.settimeout(step.get("seconds", 30))
    try:
        entry["client_left"] = handler.connection.recv(1) == b""
    except TimeoutError:
        entry["client_left"] = False
    except OSError:
        entry["client_left"] = True


def _drip(handler: BaseHTTPRequestHandler, body: dict[str, Any], step: dict[str, Any]) -> None:
    """A byte every tenth of a second, so that no single read takes long."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.close_connection = True
    end = time.monotonic() + step.get("seconds", 30)
    while time.monotonic() < end:
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.1)


def _huge(handler: BaseHTTPRequestHandler, body: dict[str, Any], step: dict[str, Any]) -> None:
    """`megabytes` of spaces in chunks, with the given status."""
    handler.send_response(step.get("status", 200))
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.close_connection = True
    entry: dict[str, Any] = handler.entry  # type: ignore[attr-defined]
    entry["sent_megabytes"] = 0
    chunk = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
    for _ in range(step.get("megabytes", 64)):
        handler.wfile.write(chunk)
        handler.wfile.flush()
        entry["sent_megabytes"] += 1
    handler.wfile.write(b"0\r\n\r\n")


def _fenced(picture: bytes) -> str:
    return f"Here is the description:\n```json\n{json.dumps(describe(picture), indent=2)}\n```\nAnything else?"


def _overlong(picture: bytes) -> str:
    good = describe(picture)
    for item in good["items"]:
        item["name"] += " of the old town"
        item["detail"] += " with many more words than were ever asked for by anybody"
    good["items"].append({"name": "fourth thing", "detail": "which nobody asked for"})
    good["overall"] = " ".join([good["overall"]] * 4)
    return json.dumps(good)


PLAYS: dict[str, Play] = {
    "good": _text(describe_as_text),
    "fenced": _text(_fenced),
    "thinking": _text(lambda picture: "<think>{A boat?} Or {not}.</think>\n" + describe_as_text(picture)),
    "overlong": _text(_overlong),
    "two_items": _text(lambda picture: json.dumps(describe(picture) | {"items": describe(picture)["items"][:2]})),
    "refusal": _text(lambda picture: None, refusal="I'm sorry, I can't help with that."),
    "refusal_in_words": _text(lambda picture: "I'm sorry, but I can't assist with that request."),
    "content_filter": _text(lambda picture: "", "content_filter"),
    "broken_json": _text(lambda picture: describe_as_text(picture)[:-40]),
    "wrong_schema": _text(lambda picture: json.dumps({"objects": ["a", "b"], "caption": {"text": "a scene"}})),
    "empty_overall": _text(lambda picture: json.dumps(describe(picture) | {"overall": " "})),
    "empty": _text(lambda picture: ""),
    "say": _say,
    "raw": _raw,
    "status": _status,
    "echo_key": _echo_key,
    "cut": _cut,
    "reset": _reset,
    "hang": _hang,
    "drip": _drip,
    "huge": _huge,
}
