"""Whether a `.misc` file of an earlier run is what would be made now, as far as the file tells. Opens no picture."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codec.bitstream import PixelCoarse, Stream, Unpacked
    from codec.captions import Captions
    from codec.description import Description
    from codec.options import EncodeOptions
    from codec.weights.store import WeightsStore


def is_up_to_date(
    unpacked: "Unpacked",
    options: "EncodeOptions",
    captions: "Captions | None",
    source_name: str,
    store: "WeightsStore",
) -> bool:
    """True when profile, coarse picture, size, texts and maps fit the options and the weights that are here.

    Who described a picture, and whether a smaller budget was asked for, is not in the file and not compared. Raises
    CaptionsError when the captions lack the picture, and WeightsError where a network would not be found.
    """
    stream = unpacked.stream
    return (
        stream.profile == options.profile.value
        and _has_coarse(unpacked, options, store)
        and _has_texts(stream, _given(options, captions, source_name))
        and _has_maps(stream, options, _given(options, captions, source_name), store)
    )


def _has_coarse(unpacked: "Unpacked", options: "EncodeOptions", store: "WeightsStore") -> bool:
    from codec.bitstream import NetCoarse, PixelCoarse, RefCoarse
    from codec.encode.coarse.ref import most_bits
    from codec.options import Mode

    stream = unpacked.stream
    if isinstance(stream.coarse, PixelCoarse):
        return options.mode is Mode.PIXEL and _has_grid(stream, stream.coarse, options)
    if isinstance(stream.coarse, NetCoarse):
        return options.mode is Mode.NET and _has_network(stream, stream.coarse.scale, options, store)
    if options.mode is not Mode.REF or not isinstance(stream.coarse, RefCoarse):
        return False
    # A picture that misses the default budget even at the smallest setting is encoded again; the file cannot say so.
    budget = most_bits(options.max_bpp, stream.width * stream.height)
    return stream.coarse.codec == options.codec.value and unpacked.bits.total <= budget


def _has_grid(stream: "Stream", coarse: "PixelCoarse", options: "EncodeOptions") -> bool:
    from codec.bitstream.pixels.payload import standard_grid
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


def _has_network(stream: "Stream", scale: int, options: "EncodeOptions", store: "WeightsStore") -> bool:
    from codec.nets.compression.load import record_of

    wanted = record_of(store, name=options.network, profile=options.profile, rate=options.rate)
    if scale != (options.scale or wanted.scale or 1):
        return False
    return stream.coarse_network is not None and wanted.sha256.startswith(stream.coarse_network.hex())


def _has_texts(stream: "Stream", given: "Description | None") -> bool:
    from codec.bitstream import Texts

    if given is None:
        # A model may name no items, and the overall text may have been too dear.
        return stream.texts != Texts()
    if stream.texts.overall != given.overall:
        return False
    # Details are stored with maps only, and only those of items that were found.
    masks = stream.maps.masks if stream.maps is not None else ()
    details = tuple(item.detail if any(mask) else "" for item, mask in zip(given.items, masks, strict=False))
    return stream.texts.details == details


def _has_maps(stream: "Stream", options: "EncodeOptions", given: "Description | None", store: "WeightsStore") -> bool:
    from codec.encode.locate.load import can_locate
    from codec.options import Describer

    if stream.maps is not None and (not options.maps or stream.maps.edge != options.map_edge):
        return False
    if given is None and options.describe is Describer.LOCAL:
        return options.maps == (stream.maps is not None)
    # Items that were described elsewhere have maps where CLIP is here to find them.
    has_items = given is not None and bool(given.items)
    return (stream.maps is not None) == (options.maps and has_items and can_locate(store)) or (
        # The model's stand-in brings its own maps, and the file does not tell who spoke.
        given is None and stream.maps is not None
    )
