"""Who describes a picture: the caller, a captions file, a language model with its fallback, the built-in describer."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from PIL import Image

from codec.captions import Captions
from codec.description import Description, check_description
from codec.encode.dependencies import EncodeDependencies, Fallback
from codec.encode.locate.masks import SimilarityMap
from codec.errors import DescriberError, FeatureUnavailable
from codec.language_model import Answer
from codec.nets.tagger.sighting import PictureTagger
from codec.options import Describer, EncodeOptions
from codec.usage import Usage

NOTHING_NAMED = (
    "Things are described by colour and place but not named: that needs PyTorch, pip install 'misc-archive[nets]'."
)
"""The note of a local description without a tagger."""


@dataclass(frozen=True)
class SourcedDescription:
    """What is in the picture, and who said so: "local", "given", "captions", "openai" or "none".

    `similarity_maps` has a map for each item when the describer brings its own. `usage` is what a model's answer cost.
    """

    description: Description
    describer: str
    similarity_maps: tuple[SimilarityMap, ...] = ()
    notes: tuple[str, ...] = ()
    usage: Usage | None = None


@dataclass(frozen=True)
class ModelOutcome:
    """How a request to the language model ended: with an answer, or with a failure and what follows it."""

    answer: Answer | None = None
    failure: DescriberError | None = None
    fallback: Fallback = Fallback.LOCAL

    @property
    def usage(self) -> Usage | None:
        """What was paid for, be it for an answer of no use."""
        if self.answer is not None:
            return self.answer.usage
        return None if self.failure is None else self.failure.usage


def ask(picture: Image.Image, dependencies: EncodeDependencies, cancelled: Callable[[], bool]) -> ModelOutcome:
    """Ask the language model, and wait for it; a picture reduced to what the model is shown does as well.

    Raises FeatureUnavailable when no model is configured, Cancelled, and DescriberError where the fallback is `fail`.
    """
    if dependencies.describer is None:
        raise no_model()
    try:
        return ModelOutcome(answer=dependencies.describer.describe(picture, cancelled))
    except DescriberError as error:
        if dependencies.fallback is Fallback.FAIL:
            raise
        return ModelOutcome(failure=error, fallback=dependencies.fallback)


def no_model() -> FeatureUnavailable:
    """The error for a description that a model should make where none is configured."""
    return FeatureUnavailable(
        "No language model is configured: set MISC_LMM_API_KEY, or MISC_LMM_BASE_URL for a server of your own, "
        "or describe with local, a file of descriptions, or a text."
    )


def describe(
    picture: Image.Image,
    options: EncodeOptions,
    dependencies: EncodeDependencies,
    *,
    source_name: str | None,
    captions: Captions | None,
    outcome: ModelOutcome | None,
    cancelled: Callable[[], bool],
) -> SourcedDescription:
    """The description by whoever comes first: text, description, captions, then the describer of the options.

    `outcome` is how the model answered before; without it the model is asked here where it comes first.
    """
    if options.text is not None:
        return SourcedDescription(check_description(Description((), options.text)), "given")
    if options.description is not None:
        return SourcedDescription(check_description(options.description.as_description()), "given")
    if captions is not None:
        return SourcedDescription(captions.lookup(source_name), "captions")
    if options.describe is Describer.NONE:
        return SourcedDescription(Description(), "none")
    if options.describe is Describer.LOCAL:
        return _describe_locally(picture, dependencies.tagger)
    return _from_outcome(picture, outcome or ask(picture, dependencies, cancelled), dependencies.tagger)


def _from_outcome(picture: Image.Image, outcome: ModelOutcome, tagger: PictureTagger | None) -> SourcedDescription:
    if outcome.answer is not None:
        answer = outcome.answer
        described = check_description(answer.description)
        return SourcedDescription(described, "openai", notes=answer.notes, usage=answer.usage)
    if outcome.fallback is Fallback.NONE:
        note = f"The language model gave no description, so none is stored. {outcome.failure}"
        return SourcedDescription(Description(), "none", notes=(note,), usage=outcome.usage)
    note = f"The language model gave no description, so the built-in describer did. {outcome.failure}"
    return replace(_describe_locally(picture, tagger, note), usage=outcome.usage)


def _describe_locally(picture: Image.Image, tagger: PictureTagger | None, *notes: str) -> SourcedDescription:
    # Imported here: segmentation needs an image-processing library that given texts do without.
    from codec.encode.describe.local import describe_locally

    local = describe_locally(picture, tagger)
    if tagger is None:
        notes = (*notes, NOTHING_NAMED)
    return SourcedDescription(local.description, "local", tuple(local.maps), notes)
