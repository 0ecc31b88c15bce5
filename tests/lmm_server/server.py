"""The HTTP side: chat completions, files, batches, and `/_script`, `/_log` to steer it and look at it.

A kind of server is chosen at the start: "openai" takes every form of answer and wants `max_completion_tokens` or
`max_tokens`; "old" answers 400 to any `response_format`; "ollama" takes pictures as data URLs only and ignores
`max_completion_tokens`; "llamacpp" keeps to a schema only in the nested form; "reasoning" refuses `max_tokens`.
"""

import json
import re
import threading
import time
from contextlib import suppress
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.lmm_server.plays import PLAYS, send, send_error
from tests.lmm_server.state import State, picture_of

KINDS = ("openai", "old", "ollama", "llamacpp", "reasoning")


class LMMTestServer:
    """A running server in this process. `base_url` is what a client is given; usable as a context manager."""

    def __init__(self, port: int = 0, kind: str = "openai", latency_seconds: float = 0.0) -> None:
        if kind not in KINDS:
            raise ValueError(f"{kind} is none of {', '.join(KINDS)}")
        self.state = State()
        self._http = _HTTPServer(("127.0.0.1", port), _Handler)
        self._http.state, self._http.kind, self._http.latency_seconds = self.state, kind, latency_seconds
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Where `/_script` and `/_log` are."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def base_url(self) -> str:
        """Where the API is."""
        return f"{self.address}/v1"

    def play(self, *steps: dict[str, Any] | str, then: dict[str, Any] | str = "good", **rest: Any) -> None:
        """Set the script; a name alone stands for a step without settings."""
        as_steps = [{"play": step} if isinstance(step, str) else step for step in (*steps, then)]
        self.state.set_script({"steps": as_steps[:-1], "then": as_steps[-1], **rest})

    def asked(self, path: str = "/v1/chat/completions") -> list[dict[str, Any]]:
        """The requests for a path so far, oldest first."""
        with self.state.lock:
            return [dict(entry) for entry in self.state.log if entry["path"] == path]

    def close(self) -> None:
        """Take no more connections."""
        self._http.shutdown()
        self._http.server_close()

    def __enter__(self) -> "LMMTestServer":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    # Hundreds of clients may come in the same instant.
    request_queue_size = 512
    state: State
    kind: str
    latency_seconds: float

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave early are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body leave in one packet; two would wait for each other's acknowledgement (Nagle).
    wbufsize = 64 * 1024
    disable_nagle_algorithm = True
    server: _HTTPServer
    entry: dict[str, Any]

    def log_message(self, format: str, *args: Any) -> None:
        """The log is kept in the state."""

    def do_GET(self) -> None:
        """Files, batches, and what was asked."""
        state, path = self.server.state, self.path.partition("?")[0]
        if path == "/_log":
            with state.lock:
                send(self, 200, {"requests": state.log, "most_open_requests": state.most_open_requests})
            return
        state.record({"path": path, "method": "GET"})
        if path == "/v1/models":
            send(self, 200, {"object": "list", "data": []})
        elif path == "/v1/batches":
            with state.lock:
                data = [batch.values for batch in reversed(state.batches.values())]
            send(self, 200, {"object": "list", "data": data, "has_more": False})
        elif found := re.fullmatch(r"/v1/batches/([\w-]+)", path):
            self._send_or_404(state.look_at_batch(found[1]))
        elif (found := re.fullmatch(r"/v1/files/([\w-]+)/content", path)) and found[1] in state.files:
            send(self, 200, state.files[found[1]], content_type="application/octet-stream")
        else:
            self._send_or_404(None)

    def do_DELETE(self) -> None:
        """Files go."""
        found = re.fullmatch(r"/v1/files/([\w-]+)", self.path)
        self.server.state.record({"path": self.path, "method": "DELETE"})
        content = self.server.state.files.pop(found[1], None) if found else None
        self._send_or_404(
            None if content is None or found is None else {"id": found[1], "object": "file", "deleted": True}
        )

    def do_POST(self) -> None:
        """Everything that is asked for."""
        state, body = self.server.state, self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "chunked" in (self.headers.get("Transfer-Encoding") or ""):
            body = self._read_chunks()
        if self.path == "/_script":
            state.set_script(json.loads(body))
            send(self, 200, {})
        elif self.path == "/_clear":
            state.clear()
            send(self, 200, {})
        elif self.path.partition("?")[0] == "/v1/chat/completions":
            self._chat(json.loads(body))
        elif self.path == "/v1/files":
            self._upload(body)
        elif self.path == "/v1/batches":
            self._create_batch(json.loads(body))
        elif found := re.fullmatch(r"/v1/batches/([\w-]+)/cancel", self.path):
            state.record({"path": self.path, "method": "POST"})
            self._send_or_404(state.cancel_batch(found[1]))
        else:
            state.record({"path": self.path, "method": "POST"})
            self._send_or_404(None)

    def _chat(self, body: dict[str, Any]) -> None:
        state, picture = self.server.state, picture_of(body)
        step = state.next_step()
        state.last_picture = picture or b""
        self.entry = state.record(
            {
                "path": self.path,
                "method": "POST",
                "played": step.get("play"),
                "body": _without_picture(body),
                "picture_bytes": None if picture is None else len(picture),
                "authorization": self.headers.get("Authorization"),
                "api_key": self.headers.get("api-key"),
                "accept_encoding": self.headers.get("Accept-Encoding"),
            }
        )
        state.enter()
        try:
            time.sleep(step.get("latency", self.server.latency_seconds))
            objection = _objection(self.server.kind, body, picture)
            # Whoever gave up meanwhile is not there to read the answer.
            with suppress(ConnectionError):
                if objection is not None:
                    send_error(self, 400, objection, "invalid_request_error")
                else:
                    PLAYS[step["play"]](self, body, step)
        finally:
            state.leave()

    def _upload(self, body: bytes) -> None:
        state = self.server.state
        parts = _parts(self.headers.get("Content-Type", ""), body)
        state.record({"path": self.path, "method": "POST", "purpose": parts["purpose"].decode()})
        file_id = state.add_file(parts["file"])
        send(
            self,
            200,
            {
                "id": file_id,
                "object": "file",
                "bytes": len(parts["file"]),
                "created_at": int(time.time()),
                "filename": "requests.jsonl",
                "purpose": parts["purpose"].decode(),
                "status": "processed",
            },
        )

    def _create_batch(self, body: dict[str, Any]) -> None:
        state = self.server.state
        self.entry = state.record({"path": self.path, "method": "POST", "body": body})
        if body["input_file_id"] not in state.files:
            send_error(self, 400, "no such file", "invalid_request_error")
            return
        if "refuse" in state.batch_script:
            send_error(self, state.batch_script["refuse"], "there are no batches here", "invalid_request_error")
            return
        values = state.add_batch(body["input_file_id"], body["endpoint"])
        # The batch exists, but its maker does not hear of it.
        if state.batch_script.pop("reset_after_create", False):
            PLAYS["reset"](self, {"messages": []}, {})
        else:
            send(self, 200, values)

    def _send_or_404(self, content: object | None) -> None:
        if content is None:
            send_error(self, 404, "there is no such thing", "not_found")
        else:
            with self.server.state.lock:
                send(self, 200, content)

    def _read_chunks(self) -> bytes:
        data = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data


def _objection(kind: str, body: dict[str, Any], picture: bytes | None) -> str | None:
    """What a server of this kind has against the request, if anything."""
    form = body.get("response_format")
    if kind == "old" and form is not None:
        return "Unrecognized request argument supplied: response_format"
    if kind == "reasoning" and "max_tokens" in body:
        return "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'."
    if kind == "ollama" and picture is None:
        return "invalid image input"
    if (
        kind == "llamacpp"
        and form is not None
        and form["type"] == "json_schema"
        and "schema" not in form["json_schema"]
    ):
        return "response_format: json_schema.schema is missing"
    return None


def _without_picture(body: dict[str, Any]) -> dict[str, Any]:
    """The request's body with pictures replaced by their beginning, so that the log stays readable."""

    def shorten(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shorten(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [shorten(inner) for inner in value]
        return value[:40] if isinstance(value, str) and value.startswith("data:") else value

    short = shorten(body)
    assert isinstance(short, dict)
    return short


def _parts(content_type: str, body: bytes) -> dict[str, bytes]:
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    found = {}
    for part in message.iter_parts():
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        found[str(part.get_param("name", header="content-disposition"))] = content
    return found
