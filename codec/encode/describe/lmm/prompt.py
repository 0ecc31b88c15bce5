"""The question that a language model is asked, in the dialects that servers understand. Reads no answers."""

from dataclasses import dataclass, replace
from typing import Any

from codec.encode.describe.lmm.failures import RequestNotTaken
from codec.language_model import AnswerForm, LMMServer

PROMPT_VERSION = 2
"""Counts up with every change of the prompt or of the schema: answers bought under another version are not reused."""

PROMPT = """\
Describe this picture for an archive that will paint it again from your words alone.

First choose the three most distinct things in it, the most important first. For each give
- "name": what it is, in at most 3 words, without an article;
- "detail": how it looks, in at most 10 words: colour, material, shape, pose, place.
Then give "overall": one paragraph of about 60 words on the whole picture: subject, how the three things are placed \
and related to each other, setting, composition, light, colours, style. Say only what can be seen. Write plain English \
without markup, and do not begin with "The image shows".

Answer with one JSON object and nothing else, in this form:
{"items": [{"name": "...", "detail": "..."}, {"name": "...", "detail": "..."}, {"name": "...", "detail": "..."}], \
"overall": "..."}"""

_TEXT = {"type": "string"}
_ITEM = {
    "type": "object",
    "properties": {"name": _TEXT, "detail": _TEXT},
    "required": ["name", "detail"],
    "additionalProperties": False,
}
_SCHEMA = {
    "type": "object",
    "properties": {"items": {"type": "array", "items": _ITEM}, "overall": _TEXT},
    "required": ["items", "overall"],
    "additionalProperties": False,
}
"""Only what every server's subset of JSON Schema has; counts and lengths are held by our own code anyway."""

_FORMATS: dict[AnswerForm, dict[str, Any] | None] = {
    # The nested form is OpenAI's, and the only one that llama.cpp honours.
    AnswerForm.JSON_SCHEMA: {
        "type": "json_schema",
        "json_schema": {"name": "description", "strict": True, "schema": _SCHEMA},
    },
    AnswerForm.JSON_OBJECT: {"type": "json_object"},
    AnswerForm.TEXT: None,
}
_WEAKER = {AnswerForm.JSON_SCHEMA: AnswerForm.JSON_OBJECT, AnswerForm.JSON_OBJECT: AnswerForm.TEXT}
_NEW_LIMIT, _OLD_LIMIT = "max_completion_tokens", "max_tokens"


@dataclass(frozen=True)
class Dialect:
    """How a server wants to be asked. `may_weaken` is whether a weaker form of answer may be tried."""

    form: AnswerForm
    limit_field: str
    may_weaken: bool
    limit_was_swapped: bool = False
    streams: bool = False

    @classmethod
    def first(cls, server: LMMServer) -> "Dialect":
        """What to begin with. OpenAI's newer models know only the newer field for the limit, Ollama only the older."""
        is_auto = server.answer_form is AnswerForm.AUTO
        form = AnswerForm.JSON_SCHEMA if is_auto else server.answer_form
        return cls(form, _OLD_LIMIT if server.base_url else _NEW_LIMIT, is_auto)

    def after(self, refusal: RequestNotTaken) -> "Dialect":
        """What to try when a server took a request not in this one; raises the refusal when nothing is left."""
        names_limit = _OLD_LIMIT in str(refusal) or _NEW_LIMIT in str(refusal)
        if names_limit and not self.limit_was_swapped:
            other = _OLD_LIMIT if self.limit_field == _NEW_LIMIT else _NEW_LIMIT
            return replace(self, limit_field=other, limit_was_swapped=True)
        if "stream" in str(refusal).casefold() and not self.streams:
            return replace(self, streams=True)
        if self.may_weaken and self.form in _WEAKER:
            return replace(self, form=_WEAKER[self.form])
        raise refusal


def request_body(server: LMMServer, data_url: str, dialect: Dialect, max_output_tokens: int) -> dict[str, Any]:
    """The body of a chat completion request.

    Everything is in one user message, since some chat templates of open models have no place for a system message.
    """
    body: dict[str, Any] = {
        "model": server.model,
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": PROMPT},
                    {"type": "image_url", "image_url": {"url": data_url, "detail": server.detail}},
                ],
            }
        ],
        dialect.limit_field: max_output_tokens,
    }
    if (response_format := _FORMATS[dialect.form]) is not None:
        body["response_format"] = response_format
    if dialect.streams:
        # Beside the SDK's own parameters, so that it hands the events over unread.
        body["extra_body"] = {"stream": True, "stream_options": {"include_usage": True}}
    return body


ABOUT_PROMPT_TOKENS = len(PROMPT) // 3
"""For reservations only; English has about 4 characters a token."""
