"""Who describes a picture: the caller, a captions file, a language model with its fallback, the built-in describer."""

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from codec.captions import Captions
from codec.description import Description, check_description
from codec.encode.describe.lmm.ports import Answer, Usage
from codec.encode.locate.masks import SimilarityMap
from codec.encode.parts import EncodeDependencies, Fallback
from codec.errors import DescriberError, FeatureUnavailable
from codec.options import Describer, EncodeOptions


@dataclass(frozen=True)
class Described:
    """What is in the picture, and who said so: "local", "given", "captions", "openai" or "none".

    `similarity_maps` has a map for each item when the describer brings its own. `usage` is what a model's answer cost.
    """

    description: Description
    describer: str
    similarity_maps: tuple[SimilarityMap, ...] = ()
    notes: tuple[str, ...] = ()
    usage: Usage | None = None


@dataclass(frozen=True)
class Asked:
    """How asking the language model ended: with an answer, or with a failure and what follows it."""

    answer: Answer | None = None
    failure: DescriberError | None = None
    fallback: Fallback = Fallback.LOCAL


def needs_model(options: EncodeOptions, *, has_captions: bool = False) -> bool:
    """True when the description has to come from a language model."""
    brings_text = has_captions or options.text is not None or options.description is not None
    return options.describe is Describer.OPENAI and not brings_text


def ask(picture: Image.Image, parts: EncodeDependencies, cancelled: Callable[[], bool]) -> Asked:
    """Ask the language model, and wait for it; a picture reduced to what the model is shown does as well.

    Raises FeatureUnavailable when no model is configured, Cancelled, and DescriberError where the fallback is `fail`.
    """
    if parts.describer is None:
        raise no_model()
    try:
        return Asked(answer=parts.describer.describe(picture, cancelled))
    except DescriberError as error:
        if parts.fallback is Fallback.FAIL:
            raise
        return Asked(failure=error, fallback=parts.fallback)


def no_model() -> FeatureUnavailable:
    """The error for a description that a model should make where none is configured."""
    return FeatureUnavailable(
        "No language model is configured: set MISC_LMM_API_KEY, or MISC_LMM_BASE_URL for a server of your own, "
        "or describe with local, a file of descriptions, or a text."
    )


def describe(
    picture: Image.Image,
    options: EncodeOptions,
    parts: EncodeDependencies,
    *,
    source_name: str | None,
    captions: Captions | None,
    asked: Asked | None,
    cancelled: Callable[[], bool],
) -> Described:
    """The description by whoever comes first: text, description, captions, then the describer of the options.

    `asked` is how the model was asked before; without it the model is asked here when it is its turn.
    """
    if options.text is not None:
        return Described(check_description(Description((), options.text)), "given")
    if options.description is not None:
        return Described(check_description(options.description.as_description()), "given")
    if captions is not None:
        return Described(captions.lookup(source_name), "captions")
    if options.describe is Describer.NONE:
        return Described(Description(), "none")
    if options.describe is Describer.LOCAL:
        return _describe_locally(picture)
    return _as_answered(picture, asked or ask(picture, parts, cancelled))


def _as_answered(picture: Image.Image, asked: Asked) -> Described:
    if asked.answer is not None:
        return Described(check_description(asked.answer.description), "openai", usage=asked.answer.usage)
    if asked.fallback is Fallback.NONE:
        note = f"The language model gave no description, so none is stored. {asked.failure}"
        return Described(Description(), "none", notes=(note,))
    note = f"The language model gave no description, so the built-in describer did. {asked.failure}"
    return _describe_locally(picture, note)


def _describe_locally(picture: Image.Image, *notes: str) -> Described:
    # Imported here: segmentation needs an image-processing library that given texts do without.
    from codec.encode.describe.local import describe_locally

    local = describe_locally(picture)
    return Described(local.description, "local", tuple(local.maps), notes)
