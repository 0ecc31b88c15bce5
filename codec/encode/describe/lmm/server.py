"""Which multimodal model to ask, where, and within what bounds. Sends nothing itself."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

Detail = Literal["low", "high", "auto"]
"""How finely an OpenAI model looks at the picture; other servers ignore it."""


class AnswerForm(StrEnum):
    """How the server is asked to keep to the form of an answer. Our own code checks the answer in every case."""

    AUTO = "auto"
    """The strictest form that the server takes, found out with the first picture."""
    JSON_SCHEMA = "json_schema"
    """The answer follows a schema: OpenAI, vLLM, llama.cpp, Ollama from 0.5."""
    JSON_OBJECT = "json_object"
    """The answer is some JSON object; the prompt says which."""
    TEXT = "text"
    """Nothing but the prompt says it."""


@dataclass(frozen=True)
class LMMServer:
    """An OpenAI-compatible server and one of its models.

    `base_url` None is OpenAI's own, which wants an `api_key`. Prices are per million tokens, in any one currency;
    0 means unknown or free. `attempts` counts requests for one description that fail in passing.
    """

    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    model: str = "gpt-5.4-mini"
    detail: Detail = "low"
    timeout_seconds: float = 60.0
    longest_edge_px: int = 768
    answer_form: AnswerForm = AnswerForm.AUTO
    attempts: int = 5
    price_input: float = 0.0
    price_output: float = 0.0
    max_output_tokens: int = 500
    longest_wait_seconds: float = 120.0
