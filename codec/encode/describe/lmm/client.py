"""Buys one description of a picture from a multimodal model: asks, checks, retries, pays. Knows no fallback."""

from collections.abc import Callable

from PIL import Image

from codec.encode.describe.lmm.ports import Answer, AnswerBook, Pace
from codec.encode.describe.lmm.server import LMMServer


class OpenAIDescriber:
    """Describes pictures through one shared client; any number of threads may call it at once."""

    def __init__(self, server: LMMServer, book: AnswerBook, pace: Pace) -> None:
        """Raises DescriberMisconfigured without a key where one is needed."""

    def key(self, picture: Image.Image) -> str:
        """Key of this picture's answer in the book: 64 hexadecimal digits."""
        raise NotImplementedError

    def describe(self, picture: Image.Image, cancelled: Callable[[], bool]) -> Answer:
        """A description within the limits, from the book or bought; raises DescriberError children and Cancelled."""
        raise NotImplementedError

    def close(self) -> None:
        """Close every connection; requests under way end."""
