"""What the server was told to play, what it was asked, and the files and batches it holds. Knows no HTTP."""

import base64
import binascii
import itertools
import json
import threading
import time
from dataclasses import dataclass
from typing import Any

from tests.lmm_server.words import describe_as_text

GOOD: dict[str, Any] = {"play": "good"}


@dataclass
class Batch:
    """A batch as the API shows it; the work is done when it is looked at, as far as the script lets it."""

    values: dict[str, Any]
    polls_left: int


class State:
    """Everything behind one lock; requests are short."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.script: list[dict[str, Any]] = []
        self.after: dict[str, Any] = GOOD
        self.batch_script: dict[str, Any] = {}
        self.log: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, Batch] = {}
        self.numbers = itertools.count(1)
        self.last_picture = b""
        self.open_requests = 0
        self.most_open_requests = 0

    def set_script(self, told: dict[str, Any]) -> None:
        """`steps` are played one a chat request, then `then` for ever (default good); `batch` is how batches go."""
        with self.lock:
            self.script = list(told.get("steps", []))
            self.after = told.get("then", GOOD)
            self.batch_script = told.get("batch", {})

    def clear(self) -> None:
        """Forget the log, keep the script."""
        with self.lock:
            self.log.clear()
            self.most_open_requests = self.open_requests

    def next_step(self) -> dict[str, Any]:
        """What to play for the chat request that has just come."""
        with self.lock:
            return self.script.pop(0) if self.script else self.after

    def record(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Add a request to the log; the entry may be filled in later."""
        with self.lock:
            self.log.append(entry | {"at": time.time(), "monotonic": time.monotonic()})
            return self.log[-1]

    def enter(self) -> None:
        """A chat request has begun."""
        with self.lock:
            self.open_requests += 1
            self.most_open_requests = max(self.most_open_requests, self.open_requests)

    def leave(self) -> None:
        """It has ended."""
        with self.lock:
            self.open_requests -= 1

    def add_file(self, content: bytes) -> str:
        """Keep a file; returns its id."""
        with self.lock:
            file_id = f"file-{next(self.numbers)}"
            self.files[file_id] = content
            return file_id

    def add_batch(self, input_file_id: str, endpoint: str) -> dict[str, Any]:
        """Begin a batch over a file."""
        with self.lock:
            batch_id = f"batch_{next(self.numbers)}"
            values = {
                "id": batch_id,
                "object": "batch",
                "endpoint": endpoint,
                "input_file_id": input_file_id,
                "completion_window": "24h",
                "status": "validating",
                "created_at": int(time.time()),
                "output_file_id": None,
                "error_file_id": None,
                "request_counts": {"total": 0, "completed": 0, "failed": 0},
            }
            self.batches[batch_id] = Batch(values, int(self.batch_script.get("polls", 1)))
            return values

    def look_at_batch(self, batch_id: str) -> dict[str, Any] | None:
        """The batch after one more poll: it is at work for `polls` of them, then ends as the script says."""
        with self.lock:
            batch = self.batches.get(batch_id)
            if batch is None:
                return None
            if batch.values["status"] in ("validating", "in_progress"):
                batch.polls_left -= 1
                batch.values["status"] = "in_progress"
                if batch.polls_left < 0:
                    self._finish(batch.values)
            return batch.values

    def cancel_batch(self, batch_id: str) -> dict[str, Any] | None:
        """Stop a batch; it is cancelled at once."""
        with self.lock:
            batch = self.batches.get(batch_id)
            if batch is None:
                return None
            batch.values["status"] = "cancelled"
            return batch.values

    def _finish(self, values: dict[str, Any]) -> None:
        script = self.batch_script
        values["status"] = script.get("end", "completed")
        if values["status"] == "failed":
            values["errors"] = {"object": "list", "data": [{"code": "invalid", "message": "line 1 is no request"}]}
            return
        good: list[dict[str, Any]] = []
        bad: list[dict[str, Any]] = []
        for number, line in enumerate(self.files[values["input_file_id"]].splitlines()):
            request = json.loads(line)
            fate = script.get("lines", {}).get(str(number), script.get("every_line", "good"))
            entry = batch_entry(request, fate)
            if entry is not None:
                (good if entry["error"] is None and entry["response"]["status_code"] == 200 else bad).append(entry)
        for entries, field_name in ((good, "output_file_id"), (bad, "error_file_id")):
            if entries:
                values[field_name] = self.add_file(b"".join(json.dumps(entry).encode() + b"\n" for entry in entries))
        values["request_counts"] = {"total": len(good) + len(bad), "completed": len(good), "failed": len(bad)}


def batch_entry(request: dict[str, Any], fate: str) -> dict[str, Any] | None:
    """One line of a batch's results; None where the fate is to be missing."""
    picture = picture_of(request["body"])
    entry: dict[str, Any] = {"id": f"batch_req_{request['custom_id'][:8]}", "custom_id": request["custom_id"]}
    if fate == "missing":
        return None
    if fate == "expired":
        return entry | {"response": None, "error": {"code": "batch_expired", "message": "not done in time"}}
    body: dict[str, Any] = completion(describe_as_text(picture or b""), request["body"])
    status = 200
    if fate == "broken":
        body = completion('{"items": [', request["body"])
    elif fate == "refused":
        body["choices"][0]["message"].update(content=None, refusal="I can't help with that.")
    elif fate.isdigit():
        status, body = int(fate), {"error": {"message": f"played status {fate}", "type": "played", "code": None}}
    return entry | {"response": {"status_code": status, "request_id": "req", "body": body}, "error": None}


def picture_of(body: dict[str, Any]) -> bytes | None:
    """The JPEG that a chat request carries as a data URL, or None."""
    for message in body.get("messages", []):
        for part in message["content"] if isinstance(message.get("content"), list) else []:
            if part.get("type") == "image_url":
                head, _, data = part["image_url"]["url"].partition(",")
                if head == "data:image/jpeg;base64":
                    try:
                        return base64.b64decode(data, validate=True)
                    except binascii.Error:
                        return None
    return None


def completion(text: str | None, body: dict[str, Any], finish_reason: str = "stop") -> dict[str, Any]:
    """A chat completion as OpenAI words it, with a usage that depends on nothing but the text."""
    output_tokens = max(1, len(text or "") // 4)
    return {
        "id": "chatcmpl-played",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body.get("model", ""),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": None,
                "finish_reason": finish_reason,
            }
        ],
        "usage": {"prompt_tokens": 400, "completion_tokens": output_tokens, "total_tokens": 400 + output_tokens},
    }
