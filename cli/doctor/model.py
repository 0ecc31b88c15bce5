"""Shows the language model that is configured a picture of known content: does it answer, and does it see?"""

from collections.abc import Callable
from dataclasses import replace

from codec.errors import DescriberError
from codec.language_model import Answer
from core.settings import LMMSettings

_SECONDS = 15.0
"""A model that takes longer for a picture of two colours is one that nobody wants to wait for."""


class _Nothing:
    """The ports of a description that is neither kept nor limited."""

    def claim(self, key: str, cancelled: Callable[[], bool]) -> Answer | None:
        return None

    def store(self, key: str, answer: Answer) -> None:
        pass

    def release(self, key: str) -> None:
        pass

    def wait(self, tokens: int, cost: float, cancelled: Callable[[], bool]) -> "_Nothing":
        return self

    def pause(self, seconds: float) -> None:
        pass

    def settle(self, tokens: int, cost: float) -> None:
        pass

    def cancel(self) -> None:
        pass


def look_at_model(settings: LMMSettings) -> tuple[bool, str]:
    """Whether the model saw a picture that is red on the left and blue on the right, and what it answered."""
    from PIL import Image

    from codec.encode.describe.lmm.client import OpenAIDescriber

    picture = Image.new("RGB", (256, 192), (210, 20, 20))
    picture.paste((20, 40, 220), (128, 0, 256, 192))
    server = settings.server
    server = replace(server, attempts=1, timeout_seconds=min(server.timeout_seconds, _SECONDS))
    nothing = _Nothing()
    describer = None
    try:
        describer = OpenAIDescriber(server, nothing, nothing)
        answer = describer.describe(picture, lambda: False)
    except DescriberError as error:
        return False, str(error)
    finally:
        if describer is not None:
            describer.close()
    texts = (answer.description.overall, *(f"{item.name} {item.detail}" for item in answer.description.items))
    words = " ".join(texts).casefold()
    missing = [colour for colour in ("red", "blue") if colour not in words]
    quoted = answer.description.overall[:120]
    if missing:
        return False, f"{server.model} was shown red and blue and answered nothing of {' and '.join(missing)}: {quoted}"
    return True, f"{server.model} saw what it was shown, in {answer.usage.seconds:.1f} s: {quoted}"
