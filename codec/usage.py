"""What an answer of a language model cost: a value that answers and errors carry."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Usage:
    """What one answer cost when it was bought. `seconds` is the latency of that request, waiting excluded.

    `cached` says that it was bought before, so that this time nothing was paid.
    """

    model: str
    input_tokens: int
    output_tokens: int
    cost: float
    seconds: float
    cached: bool = False
