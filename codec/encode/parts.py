"""What an encode may use beyond the picture: a language model, a locator, learned codecs. All of it is optional."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from PIL import Image

from codec.encode.describe.lmm.ports import Answer
from codec.encode.locate.masks import SimilarityMap
from codec.nets.interface import CoarseNetwork


class Fallback(StrEnum):
    """What happens when the language model gives no description."""

    LOCAL = "local"
    """The built-in describer takes over."""
    NONE = "none"
    """The picture is stored without texts."""
    FAIL = "fail"
    """The encode fails with the describer's error; nothing is stored."""


class LMMDescriber(Protocol):
    """Asks a multimodal model what is in a picture."""

    def describe(self, picture: Image.Image, cancelled: Callable[[], bool]) -> Answer:
        """A description within the limits, from the book of bought answers if it is there; raises DescriberError
        children, and Cancelled."""


class Locator(Protocol):
    """Finds named things in a picture."""

    def locate(self, picture: Image.Image, names: Sequence[str]) -> list[SimilarityMap]:
        """One similarity map for each name."""


@dataclass(frozen=True)
class EncodeDependencies:
    """None means: not at hand here. `fallback` is what happens when `describer` fails."""

    describer: LMMDescriber | None = None
    fallback: Fallback = Fallback.LOCAL
    locator: Locator | None = None
    coarse_network: CoarseNetwork | None = None
