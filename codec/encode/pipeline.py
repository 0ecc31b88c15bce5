"""From a picture to a `.misc` file: describe, locate, coarse, pack, with progress, timings and a way to stop."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from PIL import Image

from codec.bitstream.coarse.external import DIGEST_BYTES
from codec.bitstream.container import Packed, pack
from codec.bitstream.stream import Bits, Coarse, ExternalCoarse, Maps, Stream, Texts
from codec.captions import Captions
from codec.description import Description
from codec.encode.coarse.external import Reference, encode_external_coarse
from codec.encode.coarse.pixel import encode_pixel_coarse
from codec.encode.dependencies import EncodeDependencies, brings_description, needs_model
from codec.encode.describe.choose import ModelOutcome, SourcedDescription, describe, no_model
from codec.encode.grain import grain_of
from codec.errors import Cancelled, FeatureUnavailable, OptionError
from codec.options import EncodeOptions, Mode, Profile
from codec.usage import Usage

if TYPE_CHECKING:
    from codec.encode.coarse.early_search import EarlySearch

OnStage = Callable[[str, float], None]
"""Called with the stage that begins ("describe", "locate", "coarse", "pack", "done") and the progress in [0, 1]."""

PackStream = Callable[[Stream], Packed]
"""Does what `pack` does, wherever that is done."""

Located = tuple[Maps | None, tuple[str, ...]]

_NO_COARSE = ExternalCoarse(bytes(DIGEST_BYTES), 0)
"""Stands in a stream whose coarse picture is still to come."""

_COARSE_HEAD_BYTES = 2
"""By which the head of the coarse picture's section may grow with what is to come, where another section follows."""

_DEAR_SHARE = 0.03
"""Of the budget, from which on an overall sentence is left out."""

_STARTS = {"describe": 0.0, "locate": 0.35, "coarse": 0.4, "pack": 0.95, "done": 1.0}
"""Rough shares of the time, so that a bar moves evenly enough."""


@dataclass(frozen=True)
class Encoded:
    """An encoded picture and how it came about.

    `describer` is "local", "given", "captions", "openai" or "none". `description` has the items' names, which the
    stream has not. `notes` are sentences for the caller. `seconds` has describe, locate, coarse, pack and total; what
    is done for the coarse picture during the description is not counted twice. `reference` is the file to be stored
    beside an external stream, `usage` what a model's answer cost.
    """

    data: bytes
    bits: Bits
    stream: Stream
    description: Description
    describer: str
    notes: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    reference: bytes | None = None
    usage: Usage | None = None

    @property
    def bpp(self) -> float:
        """File bytes x 8 / pixels of the original."""
        return self.bits.total / (self.stream.width * self.stream.height)


def encode(
    picture: Image.Image,
    options: EncodeOptions,
    *,
    source_name: str | None = None,
    captions: Captions | None = None,
    reference: Reference | None = None,
    dependencies: EncodeDependencies | None = None,
    outcome: ModelOutcome | None = None,
    on_stage: OnStage | None = None,
    cancelled: Callable[[], bool] | None = None,
    pack_stream: PackStream = pack,
    picture_notes: tuple[str, ...] = (),
) -> Encoded:
    """Encode an upright sRGB picture (mode RGB).

    A text or description in `options` comes before `captions` (looked up by `source_name`), and those before the
    describer. With `reference` the coarse picture is that file, which stays outside the stream. `outcome` is how
    a language model answered before (`codec.encode.describe.choose.ask`), so that nobody has to hold the picture while
    waiting for it. Raises CodecError children; `cancelled` is asked between stages, before trial encodings, from a
    thread of theirs too, and while a model answers, and Cancelled is raised on True. `pack_stream` may have the packing
    done by another process; `picture_notes` are what was noted as the picture was opened.
    """
    dependencies = dependencies or EncodeDependencies()
    is_cancelled = cancelled or (lambda: False)
    check_options(
        options,
        dependencies,
        has_captions=captions is not None,
        has_reference=reference is not None,
        has_outcome=outcome is not None,
    )
    clock = _Clock(on_stage or (lambda stage, progress: None), is_cancelled)
    coarse_notes: tuple[str, ...] = ()
    clock.start("describe")
    with ExitStack() as stack:
        early = _early_search(picture, options, reference, clock.check)
        if early is not None:
            stack.enter_context(early)
            if not brings_description(options, has_captions=captions is not None) and outcome is None:
                early.begin(options.max_bpp)
        described = describe(
            picture,
            options,
            dependencies,
            source_name=source_name,
            captions=captions,
            outcome=outcome,
            cancelled=is_cancelled,
        )
        clock.start("locate")
        maps, locate_notes = _locate(picture, described, options, dependencies)
        texts = _texts(described.description, maps)
        clock.start("coarse")
        bare = Stream(picture.width, picture.height, _NO_COARSE, texts, maps, options.profile.value)
        if options.mode is Mode.NET and dependencies.coarse_network is not None:
            bare = replace(bare, coarse_network=dependencies.coarse_network.digest)
        if early is None:
            coarse = _coarse(picture, options, dependencies, reference)
        else:
            if options.profile is Profile.LITE:
                bare = replace(bare, grain=grain_of(picture))
            bare = _affordable(bare, described.describer, options, pack_stream)
            coarse, coarse_notes = _coarse_reference(early, options, _rest_bytes(bare, pack_stream))
    clock.start("pack")
    stream = replace(bare, coarse=coarse)
    packed = pack_stream(stream)
    clock.start("done")
    return Encoded(
        data=packed.data,
        bits=packed.bits,
        stream=stream,
        description=described.description,
        describer=described.describer,
        notes=picture_notes + described.notes + locate_notes + coarse_notes,
        seconds=clock.seconds(),
        usage=described.usage,
        reference=reference.data if reference is not None else None,
    )


def check_options(
    options: EncodeOptions,
    dependencies: EncodeDependencies | None = None,
    *,
    has_captions: bool = False,
    has_reference: bool = False,
    has_outcome: bool = False,
) -> None:
    """Refuse what contradicts itself or, with `dependencies`, cannot be done here: FeatureUnavailable, OptionError."""
    if has_reference and options.mode is not Mode.REF:
        raise OptionError("A reference picture belongs to mode ref; add --mode ref or leave the reference out.")
    if dependencies is None:
        return
    if options.mode is Mode.NET and dependencies.coarse_network is None:
        raise FeatureUnavailable(
            "Mode net needs the weights of a learned codec: `misc weights list` shows what there is, "
            "`misc weights add` takes a checkpoint of yours; or use pixel or ref."
        )
    if needs_model(options, has_captions=has_captions) and not has_outcome and dependencies.describer is None:
        raise no_model()


class _Clock:
    """Announces stages, measures them and asks whether to go on."""

    def __init__(self, on_stage: OnStage, cancelled: Callable[[], bool]) -> None:
        self._on_stage, self._cancelled = on_stage, cancelled
        self._marks: list[tuple[str, float]] = []

    def check(self) -> None:
        if self._cancelled():
            raise Cancelled("The encode was stopped because the caller asked for it.")

    def start(self, stage: str) -> None:
        if stage != "done":
            self.check()
        self._marks.append((stage, time.perf_counter()))
        self._on_stage(stage, _STARTS[stage])

    def seconds(self) -> dict[str, float]:
        ends = [start for _, start in self._marks[1:]]
        spent = {stage: end - start for (stage, start), end in zip(self._marks, ends, strict=False)}
        return {**spent, "total": self._marks[-1][1] - self._marks[0][1]}


def _locate(
    picture: Image.Image, described: SourcedDescription, options: EncodeOptions, dependencies: EncodeDependencies
) -> Located:
    """The items' maps, from the describer itself or by looking for their names, and what to tell of it."""
    items = described.description.items
    if not options.maps or not items:
        return None, ()
    similarity_maps = described.similarity_maps
    if not similarity_maps:
        if dependencies.locator is None:
            return None, (
                "The items were described elsewhere and cannot be located without CLIP, so neither maps nor details of "
                "theirs are stored.",
            )
        similarity_maps = tuple(dependencies.locator.locate(picture, [item.name or item.detail for item in items]))
    # Imported here: reducing maps needs an image-processing library that maps off does without.
    from codec.encode.locate.masks import masks_from_maps

    return masks_from_maps(similarity_maps, options.map_edge), ()


def _texts(description: Description, maps: Maps | None) -> Texts:
    """What a decoder will read: the overall text, and the detail of each item whose map marks something.

    The others stay empty, because texts and maps go together by their order.
    """
    if maps is None:
        return Texts((), description.overall)
    pairs = zip(description.items, maps.masks, strict=False)
    return Texts(tuple(item.detail if any(mask) else "" for item, mask in pairs), description.overall)


def _affordable(bare: Stream, describer: str, options: EncodeOptions, pack_stream: PackStream) -> Stream:
    """The stream without the built-in describer's overall sentence where that takes too much of a small budget.

    The details say what is there; nobody wrote the sentence, and lite's restorer does not look at it.
    """
    from codec.encode.coarse.ref import most_bits

    shorter = replace(bare, texts=replace(bare.texts, overall=""))
    if describer != "local" or not bare.texts.details or options.profile is not Profile.LITE:
        return bare
    saved = pack_stream(bare).bits.total - pack_stream(shorter).bits.total
    return shorter if saved > _DEAR_SHARE * most_bits(options.max_bpp, bare.width * bare.height) else bare


def _early_search(
    picture: Image.Image, options: EncodeOptions, reference: Reference | None, check: Callable[[], None]
) -> "EarlySearch | None":
    """The search for another codec's picture, where the mode has one."""
    if options.mode is not Mode.REF or reference is not None:
        return None
    from codec.encode.coarse.early_search import EarlySearch

    return EarlySearch(picture, options.codec.value, check)


def _rest_bytes(bare: Stream, pack_stream: PackStream) -> int:
    """What the file spends on all but the coarse picture."""
    bits = pack_stream(bare).bits
    return (bits.total - bits.coarse) // 8 + (_COARSE_HEAD_BYTES if bare.grain else 0)


def _coarse_reference(early: "EarlySearch", options: EncodeOptions, rest: int) -> tuple[Coarse, tuple[str, ...]]:
    """The reference within the budget; `rest` are the bytes of all but it."""
    from codec.encode.coarse.ref import DEFAULT_MAX_BPP

    choice = early.search().choose(options.max_bpp, rest)
    if choice.fits:
        return choice.coarse, ()
    note = (
        f"{options.codec.value} cannot bring a picture of this size to the default of {DEFAULT_MAX_BPP} bpp, "
        f"so its smallest setting was used."
    )
    return choice.coarse, (note,)


def _coarse(
    picture: Image.Image, options: EncodeOptions, dependencies: EncodeDependencies, reference: Reference | None
) -> Coarse:
    """The coarse picture of the modes that spend what they spend."""
    if reference is not None:
        return encode_external_coarse(reference, picture.width, picture.height)
    if options.mode is Mode.PIXEL:
        return encode_pixel_coarse(picture, options.blocks, options.level, published=options.published_grid)
    assert dependencies.coarse_network is not None, "checked before"
    return dependencies.coarse_network.compress(picture, options.scale)
