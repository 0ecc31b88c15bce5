"""The coarse picture of a stream at the picture's full size. It restores nothing."""

import hashlib

from PIL import Image

from codec.bitstream.coarse.reference import coded_size
from codec.bitstream.stream import ExternalCoarse, NetCoarse, PixelCoarse, RefCoarse, Stream
from codec.errors import NetworkMismatch, PictureError, ReferenceMissing
from codec.nets.interface import CoarseNetwork, FindNetwork
from codec.picture.blocks import blocks_picture
from codec.picture.coded import read_coded
from codec.picture.open import open_picture
from codec.picture.resize import enlarge_to


def rebuild_coarse(
    stream: Stream, *, reference: bytes | None = None, find_network: FindNetwork | None = None
) -> Image.Image:
    """The coarse picture, RGB, stream.width x stream.height.

    `reference` is the file that an external stream names, `find_network` fetches the learned codec that a stream of
    mode net names. Raises NetworkMismatch when it is not to be had, ReferenceMissing when it is not given or is another
    file, StreamCorrupt when the payload does not decode, FeatureUnavailable when its codec is missing here.
    """
    coarse = stream.coarse
    if isinstance(coarse, PixelCoarse):
        small = blocks_picture(coarse.columns, coarse.rows, coarse.level, coarse.samples)
    elif isinstance(coarse, RefCoarse):
        small = read_coded(coarse.codec, coarse.file, *coded_size(stream.width, stream.height, coarse.scale))
    elif isinstance(coarse, NetCoarse):
        small = _network_of(stream, find_network).decompress(coarse, stream.width, stream.height)
    else:
        small = _from_reference(coarse, reference)
    return enlarge_to(small, stream.width, stream.height)


def _network_of(stream: Stream, find_network: FindNetwork | None) -> CoarseNetwork:
    assert stream.coarse_network is not None, "unpack refuses a stream of mode net without it"
    if find_network is None:
        raise NetworkMismatch(
            f"The stream can only be read with the learned codec whose SHA-256 begins with "
            f"{stream.coarse_network.hex()}; `misc weights list` shows which are here."
        )
    return find_network(stream.coarse_network)


def _from_reference(coarse: ExternalCoarse, reference: bytes | None) -> Image.Image:
    wanted = coarse.digest.hex()
    if reference is None:
        raise ReferenceMissing(
            f"The stream names a reference picture that is stored beside it (SHA-256 begins with {wanted}). "
            f"Put that file beside the stream or name it with --reference."
        )
    found = hashlib.sha256(reference).hexdigest()[: len(wanted)]
    if found != wanted:
        raise ReferenceMissing(
            f"The reference picture given is another file than the stream names: its SHA-256 begins with {found}, "
            f"not {wanted}."
        )
    try:
        return open_picture(reference)
    except PictureError as error:
        raise ReferenceMissing(f"The reference picture that the stream names cannot be opened. {error}") from None
