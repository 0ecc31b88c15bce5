"""Whether a `.misc` file of an earlier run is what would be made now, as far as the file tells. Opens no picture."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codec.bitstream import PixelCoarse, Stream, Unpacked
    from codec.captions import Captions
    from codec.description import Description
    from codec.options import EncodeOptions


def is_as_asked(unpacked: "Unpacked", options: "EncodeOptions", captions: "Captions | None", source_name: str) -> bool:
    """True when profile, coarse picture, size, texts and maps fit the options.

    Who described a picture, and whether a smaller budget was asked for, is not in the file and not compared. Raises
    CaptionsError when the captions lack the picture.
    """
    stream = unpacked.stream
    return (
        stream.profile == options.profile.value
        and _has_coarse(unpacked, options)
        and _has_texts_and_maps(stream, options, _given(options, captions, source_name))
    )


def _has_coarse(unpacked: "Unpacked", options: "EncodeOptions") -> bool:
    from codec.bitstream import PixelCoarse, RefCoarse
    from codec.encode.coarse.ref import DEFAULT_MAX_BPP
    from codec.options import Mode

    stream = unpacked.stream
    if isinstance(stream.coarse, PixelCoarse):
        return options.mode is Mode.PIXEL and _has_grid(stream, stream.coarse, options)
    if options.mode is not Mode.REF or not isinstance(stream.coarse, RefCoarse):
        return False
    # A picture that misses the default budget even at the smallest setting is encoded again; the file cannot say so.
    budget = DEFAULT_MAX_BPP if options.max_bpp is None else options.max_bpp
    return stream.coarse.codec == options.codec.value and unpacked.bits.total <= budget * stream.width * stream.height


def _has_grid(stream: "Stream", coarse: "PixelCoarse", options: "EncodeOptions") -> bool:
    from codec.bitstream.pixels import standard_grid
    from codec.encode.coarse.pixel import published_grid

    width, height = stream.width, stream.height
    if options.published_grid:
        grid = published_grid(width, height, options.blocks)
    else:
        grid = standard_grid(width, height, min(options.blocks, max(width, height)))
    return (coarse.columns, coarse.rows, coarse.level) == (*grid, options.level)


def _given(options: "EncodeOptions", captions: "Captions | None", source_name: str) -> "Description | None":
    """What the caller says of the picture, in the order in which an encode asks; None leaves it to the describer."""
    from codec.description import Description
    from codec.options import Describer

    if options.text is not None:
        return Description((), options.text)
    if options.description is not None:
        return options.description.as_description()
    if captions is not None:
        return captions.lookup(source_name)
    return Description() if options.describe is Describer.NONE else None


def _has_texts_and_maps(stream: "Stream", options: "EncodeOptions", given: "Description | None") -> bool:
    if given is None:
        # The describer always says something of the whole, and locates every item that it names.
        with_items, with_maps = bool(stream.texts.details), stream.maps is not None
        return bool(stream.texts.overall) and with_items == with_maps == options.maps
    details = tuple(item.detail for item in given.items if item.detail) if options.maps else ()
    # Items that were described elsewhere have no maps.
    return stream.maps is None and stream.texts.details == details and stream.texts.overall == given.overall
