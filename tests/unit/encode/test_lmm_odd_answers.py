"""Answers of model servers in forms that are not those of the interface: read, refused, or known as errors."""

import json
from typing import Any

from codec.encode.describe.lmm.completion import description_of, read_completion, read_json
from codec.encode.describe.lmm.failures import PassingFailure
from codec.errors import DescriptionRefused
from codec.language_model import LMMServer

SERVER = LMMServer(base_url="http://h/v1", model="m")
OVERALL = "A red boat lies on calm water under a grey sky."
ANSWER = json.dumps({"items": [{"name": "boat", "detail": "a red boat"}], "overall": OVERALL})


def _overall(body: bytes) -> str:
    return description_of(read_completion(read_json(body), SERVER)).overall


def _said(content: Any) -> bytes:
    return json.dumps({"choices": [{"message": {"content": content}, "finish_reason": "stop"}]}).encode()


def test_what_says_nothing_before_the_answer_is_passed_over() -> None:
    for before in ('{"items": [], "overall": "..."}', '{"properties": {"overall": {"type": "string"}}}'):
        assert _overall(_said(f"{before}\n{ANSWER}")) == OVERALL


def test_whole_message_in_the_only_event_is_the_answer_and_after_its_parts_is_not_doubled() -> None:
    whole = {"choices": [{"delta": {}, "message": {"content": ANSWER}}]}
    part = {"choices": [{"delta": {"content": ANSWER}}]}
    for events in ([whole], [part, whole]):
        assert _overall("".join(f"data: {json.dumps(event)}\n\n" for event in events).encode()) == OVERALL


def test_errors_in_other_forms_are_errors_of_their_status() -> None:
    for body in (
        {"errors": [{"code": 429, "message": "slow"}]},
        {"object": "error", "code": 503, "message": "loading"},
        {"success": False, "code": 429, "msg": "slow"},
    ):
        try:
            read_completion(body, SERVER)
        except PassingFailure as failure:
            assert "status 429: slow" in str(failure) or "status 503: loading" in str(failure)
        else:
            raise AssertionError(body)


def test_refusal_among_the_parts_is_a_refusal() -> None:
    completion = read_completion(read_json(_said([{"type": "refusal", "refusal": "I cannot."}])), SERVER)
    assert isinstance(completion.refusal, DescriptionRefused)


def test_body_within_a_gateways_own_is_read_with_its_usage() -> None:
    whole = {"choices": [{"message": {"content": ANSWER}}], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
    told = {"input_tokens": 3, "output_tokens": 4}
    for body in (
        {"code": 0, "data": whole},
        {"output": {"choices": [{"message": {"content": [{"text": ANSWER}]}}]}, "usage": told},
        {"output": {"text": ANSWER, "finish_reason": "stop"}, "usage": told},
        {"result": {"response": ANSWER, "usage": whole["usage"]}, "success": True, "errors": []},
    ):
        completion = read_completion(body, SERVER)
        assert description_of(completion).overall == OVERALL, body
        assert completion.spent is not None and completion.spent.tokens == 7, body


def test_objects_as_javascript_writes_them_are_read() -> None:
    items = "items: [{name: 'boat', detail: 'a red boat',}]"
    for text in (
        f"{{{items}, overall: '{OVERALL}'}}",
        f'{{{items}, overall: "{OVERALL}"',
        f"{{'overall': '{OVERALL}'}}",
    ):
        assert _overall(_said(text)) == OVERALL, text
