"""Turns one original into a stored, verified stream. The original goes only after the stream was read back."""

import hashlib
from collections.abc import Mapping

from sqlalchemy.orm import Session

from codec.bitstream import MEDIA_TYPE, unpack
from codec.decode.coarse import rebuild_coarse
from codec.encode.coarse.external import Reference
from codec.encode.pipeline import Encoded, encode
from codec.errors import StreamCorrupt
from codec.limits import MAX_REFERENCE_BYTES, MAX_STREAM_BYTES
from codec.options import EncodeOptions, parse_options
from codec.picture.open import open_picture
from core import images, objects
from core.errors import LeaseLost
from core.storage import Storage
from core.storage.keys import bitstream_key, digest_in
from models.description import DescriptionRecord
from models.image import Image
from workers.context import Record, WorkContext, fetched

_STAGE_SHARES: Mapping[str, tuple[float, float]] = {
    # Where in the whole job each stage of the codec begins and ends.
    "describe": (0.05, 0.5),
    "locate": (0.5, 0.55),
    "coarse": (0.55, 0.85),
    "pack": (0.85, 0.9),
}


def encode_image(context: WorkContext) -> Record:
    """Read the original, encode it, store the stream, read it back and rebuild its coarse picture."""
    with context.database.read() as session:
        image = session.get(Image, context.claim.image_id)
    if image is None or image.original_key is None:
        raise LeaseLost("The image was deleted.")
    encoded = _encode(context, image, image.original_key)
    sha256 = hashlib.sha256(encoded.data).hexdigest()
    context.progress("store", 0.9)
    _store(context, sha256, encoded.data)
    context.progress("verify", 0.95)
    _verify(context.storage, sha256, encoded)

    def _record(session: Session) -> dict[str, float]:
        stored = session.get(Image, image.id, with_for_update={"of": Image})
        if stored is None:
            raise LeaseLost("The image was deleted.")
        images.record_stream(session, stored, encoded.stream, encoded.bits, sha256)
        stored.seconds, stored.notes = dict(encoded.seconds), list(encoded.notes)
        session.merge(DescriptionRecord(image_id=image.id, describer=encoded.describer, content=_content(encoded)))
        if not stored.keep_original and stored.original_key is not None:
            objects.discard(session, stored.original_key, shared=False)
            stored.original_key = None
        return dict(encoded.seconds)

    return _record


def _encode(context: WorkContext, image: Image, original_key: str) -> Encoded:
    options = parse_options(EncodeOptions, image.options)

    def _on_stage(stage: str, fraction: float) -> None:
        start, end = _STAGE_SHARES.get(stage, (0.05, 0.9))
        context.progress(stage, start + (end - start) * fraction)

    context.progress("fetch", 0.0)
    with fetched(context.storage, original_key, image.original_sha256) as path:
        picture = open_picture(path)
    reference = None
    if image.reference_key is not None:
        data = context.storage.get(
            image.reference_key, max_bytes=MAX_REFERENCE_BYTES, sha256=digest_in(image.reference_key)
        )
        reference = Reference(data, (image.declared_bits or 0) / (image.width * image.height))
    return encode(
        picture,
        options,
        source_name=image.name,
        reference=reference,
        on_stage=_on_stage,
        cancelled=context.cancelled,
    )


def _store(context: WorkContext, sha256: str, data: bytes) -> None:
    key = bitstream_key(sha256)
    objects.reserve(context.database, key)
    context.storage.put(key, data, content_type=MEDIA_TYPE, sha256=sha256)


def _verify(storage: Storage, sha256: str, encoded: Encoded) -> None:
    """Read the stored stream as a decoder would; raises before anything was recorded or deleted."""
    data = storage.get(bitstream_key(sha256), max_bytes=MAX_STREAM_BYTES, sha256=sha256)
    stream = unpack(data).stream
    if stream != encoded.stream:
        raise StreamCorrupt("The stored stream reads differently from what was encoded; the original is kept.")
    rebuild_coarse(stream, reference=encoded.reference)


def _content(encoded: Encoded) -> dict[str, object]:
    items = [{"name": item.name, "detail": item.detail} for item in encoded.description.items]
    return {"items": items, "overall": encoded.description.overall}
