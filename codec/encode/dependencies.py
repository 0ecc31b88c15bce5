"""What an encode may use beyond the picture: a language model, a locator, a tagger, learned codecs. All is optional."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from PIL import Image

from codec.encode.locate.masks import SimilarityMap
from codec.language_model import Answer
from codec.nets.interface import CoarseNetwork
from codec.nets.tagger.load import find_tagger
from codec.nets.tagger.sighting import PictureTagger
from codec.options import Describer, EncodeOptions, Mode
from codec.weights.store import WeightsStore


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
        """A description within the limits, from the cache if it is there; raises DescriberError
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
    tagger: PictureTagger | None = None


def needs_model(options: EncodeOptions, *, has_captions: bool = False) -> bool:
    """True when the description has to come from a language model."""
    return options.describe is Describer.OPENAI and not brings_description(options, has_captions=has_captions)


def brings_description(options: EncodeOptions, *, has_captions: bool = False) -> bool:
    """True when nobody has to look at the picture for its description."""
    is_given = has_captions or options.text is not None or options.description is not None
    return is_given or options.describe is Describer.NONE


def resolve(
    dependencies: EncodeDependencies, options: EncodeOptions, store: WeightsStore, *, has_captions: bool = False
) -> EncodeDependencies:
    """The same with the learned codec, the locator and the tagger that these options need; only a missing codec is an
    error.

    Networks are loaded once a process. Raises WeightsError children, and FeatureUnavailable where the libraries for
    networks are not installed.
    """
    locator, coarse_network, tagger = None, None, None
    described_elsewhere = has_captions or options.description is not None or needs_model(options)
    if not brings_description(options, has_captions=has_captions):
        # For a model's answer too, since the built-in describer may have to take over. Nothing is loaded before that.
        tagger = find_tagger(store)
    if options.maps and described_elsewhere and options.text is None:
        from codec.encode.locate.load import load_locator

        locator = load_locator(store)
    if options.mode is Mode.NET:
        from codec.nets.compression.load import load_coarse_network

        coarse_network = load_coarse_network(store, name=options.network, profile=options.profile, rate=options.rate)
    return replace(dependencies, locator=locator, coarse_network=coarse_network, tagger=tagger)
