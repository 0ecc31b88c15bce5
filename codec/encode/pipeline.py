"""From a picture to a `.misc` file: describe, locate, coarse, pack, with progress, timings and a way to stop."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from codec.bitstream.container import pack
from codec.bitstream.external import DIGEST_BYTES
from codec.bitstream.stream import Bits, Coarse, ExternalCoarse, Maps, Stream, Texts
from codec.description import Description
from codec.encode.coarse.external import Reference, encode_external_coarse
from codec.encode.coarse.pixel import encode_pixel_coarse
from codec.encode.describe.captions import Captions
from codec.encode.describe.given import check_description
from codec.errors import Cancelled, FeatureUnavailable, OptionError
from codec.options import Describer, EncodeOptions, Mode

OnStage = Callable[[str, float], None]
"""Called with the stage that begins ("describe", "locate", "coarse", "pack", "done") and the progress in [0, 1]."""

_STARTS = {"describe": 0.0, "locate": 0.35, "coarse": 0.4, "pack": 0.95, "done": 1.0}
"""Rough shares of the time, so that a bar moves evenly enough."""


@dataclass(frozen=True)
class Encoded:
    """An encoded picture and how it came about.

    `describer` is "local", "given", "captions" or "none". `description` has the items' names, which the stream has
    not. `notes` are sentences for the person who asked. `seconds` has describe, locate, coarse, pack and total.
    `reference` is the file to be stored beside an external stream.
    """

    data: bytes
    bits: Bits
    stream: Stream
    description: Description
    describer: str
    notes: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    reference: bytes | None = None

    @property
    def bpp(self) -> float:
        """File bytes x 8 / pixels of the original."""
        return self.bits.total / (self.stream.width * self.stream.height)


@dataclass(frozen=True)
class _Described:
    description: Description
    describer: str
    similarity_maps: tuple[npt.NDArray[np.floating[Any]], ...] = ()
    notes: tuple[str, ...] = ()


def encode(
    picture: Image.Image,
    options: EncodeOptions,
    *,
    source_name: str | None = None,
    captions: Captions | None = None,
    reference: Reference | None = None,
    on_stage: OnStage | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Encoded:
    """Encode an upright sRGB picture (mode RGB).

    A text or description in `options` comes before `captions` (looked up by `source_name`), and those before the
    describer. With `reference` the coarse picture is that file, which stays outside the stream. Raises CodecError
    children; `cancelled` is asked between stages and before each trial encoding, and Cancelled is raised on True.
    """
    check_options(options, has_captions=captions is not None, has_reference=reference is not None)
    clock = _Clock(on_stage or (lambda stage, progress: None), cancelled or (lambda: False))
    clock.start("describe")
    described = _describe(picture, options, source_name, captions)
    clock.start("locate")
    maps = _locate(described, options)
    texts = _texts(described.description, options, keep_empty=maps is not None)
    clock.start("coarse")
    nothing = ExternalCoarse(bytes(DIGEST_BYTES), 0)
    bare = Stream(picture.width, picture.height, nothing, texts, maps, options.profile.value)
    coarse, notes = _coarse(picture, options, reference, bare, clock.check)
    clock.start("pack")
    stream = replace(bare, coarse=coarse)
    packed = pack(stream)
    clock.start("done")
    return Encoded(
        data=packed.data,
        bits=packed.bits,
        stream=stream,
        description=described.description,
        describer=described.describer,
        notes=described.notes + notes,
        seconds=clock.seconds(),
        reference=reference.data if reference is not None else None,
    )


def check_options(options: EncodeOptions, *, has_captions: bool = False, has_reference: bool = False) -> None:
    """Refuse what cannot be done here before any work: FeatureUnavailable or OptionError, each with a remedy."""
    if options.mode is Mode.NET:
        raise FeatureUnavailable("Mode net needs networks that this version does not ship; use pixel or ref.")
    brings_text = has_captions or options.text is not None or options.description is not None
    if options.describe is Describer.OPENAI and not brings_text:
        raise FeatureUnavailable(
            "Describing with an OpenAI-compatible model is not built into this version; "
            "use --describe local, a file of descriptions, or --text."
        )
    if has_reference and options.mode is not Mode.REF:
        raise OptionError("A reference picture belongs to mode ref; add --mode ref or leave the reference out.")


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


def _describe(
    picture: Image.Image, options: EncodeOptions, source_name: str | None, captions: Captions | None
) -> _Described:
    if options.text is not None:
        return _Described(check_description(Description((), options.text)), "given")
    if options.description is not None:
        return _described_elsewhere(check_description(options.description.as_description()), "given", options)
    if captions is not None:
        return _described_elsewhere(captions.lookup(source_name), "captions", options)
    if options.describe is Describer.NONE:
        return _Described(Description(), "none")
    # Imported here: segmentation needs an image-processing library that given texts do without.
    from codec.encode.describe.local import describe_locally

    local = describe_locally(picture)
    return _Described(local.description, "local", tuple(local.maps))


def _described_elsewhere(description: Description, describer: str, options: EncodeOptions) -> _Described:
    """A description whose items nobody here can find in the picture, so that they get no maps."""
    notes: tuple[str, ...] = ()
    if description.items and options.maps:
        notes = ("The items were described elsewhere and cannot be located here, so no maps are stored.",)
    return _Described(description, describer, (), notes)


def _locate(described: _Described, options: EncodeOptions) -> Maps | None:
    if not options.maps or not described.similarity_maps:
        return None
    from codec.encode.locate import masks_from_maps

    return masks_from_maps(described.similarity_maps)


def _texts(description: Description, options: EncodeOptions, *, keep_empty: bool) -> Texts:
    """What is stored: the overall text alone without maps asked for, else the details too.

    Empty details are left out unless maps need them to stay in order.
    """
    if not options.maps:
        return Texts((), description.overall)
    details = tuple(item.detail for item in description.items if item.detail or keep_empty)
    return Texts(details, description.overall)


def _coarse(
    picture: Image.Image,
    options: EncodeOptions,
    reference: Reference | None,
    bare: Stream,
    check: Callable[[], None],
) -> tuple[Coarse, tuple[str, ...]]:
    """The coarse picture of the chosen mode; `bare` is the stream with all but it."""
    if reference is not None:
        return encode_external_coarse(reference, picture.width, picture.height), ()
    if options.mode is Mode.PIXEL:
        return encode_pixel_coarse(picture, options.blocks, options.level, published=options.published_grid), ()
    from codec.encode.coarse.ref import DEFAULT_MAX_BPP, choose_reference

    bits = pack(bare).bits
    choice = choose_reference(
        picture,
        options.codec.value,
        max_bpp=options.max_bpp,
        overhead_bytes=(bits.total - bits.coarse) // 8,
        before_trial=check,
    )
    if choice.fits:
        return choice.coarse, ()
    note = (
        f"{options.codec.value} cannot bring a picture of this size to the default of {DEFAULT_MAX_BPP} bpp, "
        f"so its smallest setting was used."
    )
    return choice.coarse, (note,)
