"""Turns one original into a stored, verified stream. The original goes only after the stream was read back."""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import asdict, replace

from PIL.Image import Image as Picture
from sqlalchemy.orm import Session

from codec.bitstream import RefCoarse, Stream
from codec.bitstream.coarse.reference import encode_reference
from codec.decode.coarse import rebuild_coarse
from codec.encode.coarse.external import Reference
from codec.encode.dependencies import needs_model, resolve
from codec.encode.describe.choose import ModelOutcome, ask
from codec.encode.pipeline import Encoded, check_options, encode
from codec.errors import StreamCorrupt
from codec.nets.compression.load import find_in
from codec.options import EncodeOptions, parse_options
from codec.picture.open import open_picture
from core.archive import bitstreams, images, object_lifecycle, references
from core.archive.object_lifecycle import NewObject
from core.describing import llm_batches
from core.errors import LeaseLost
from core.jobs import queries, transitions
from core.storage import Storage
from core.storage.keys import request_key
from models.description import DescriptionRecord
from models.image import Image
from workers.context import JobDeferred, Record, WorkContext, fetched
from workers.encode.resources import EncodeResources

_STAGE_SHARES: Mapping[str, tuple[float, float]] = {
    # Where in the whole job each stage of the codec begins and ends.
    "describe": (0.05, 0.5),
    "locate": (0.5, 0.55),
    "coarse": (0.55, 0.85),
    "pack": (0.85, 0.9),
}

_ASKING = ("describe", "total")
"""The stages of the codec's own account that waiting for a model belongs to."""

_KEPT_PIXELS = 1_000_000
"""A picture up to this (3 MB) is kept while a model is asked; fetching and opening it again would take longer. A larger
one is let go, since as many may wait as the process has threads."""


class Encoder:
    """Does encode jobs with what the process has for them; called from many threads.

    A full picture is held in a slot only. Nobody waits for the language model in one, so that many jobs may wait.
    """

    def __init__(self, shop: EncodeResources) -> None:
        self._shop = shop

    def encode_image(self, context: WorkContext) -> Record:
        """Read the original, encode it, store the stream, read it back and rebuild its coarse picture."""
        with context.database.read() as session:
            image = session.get(Image, context.claim.image_id)
        if image is None or image.original_key is None:
            raise LeaseLost("The image was deleted.")
        encoded = self._encode(context, image)
        sha256 = hashlib.sha256(encoded.data).hexdigest()
        context.progress("store", 0.9)
        bitstreams.put(context.database, context.storage, encoded.data, sha256)
        context.progress("verify", 0.95)
        self._verify(context, sha256, encoded)

        def _record(session: Session) -> dict[str, float]:
            stored = session.get(Image, image.id, with_for_update={"of": Image})
            if stored is None:
                raise LeaseLost("The image was deleted.")
            images.record_stream(session, stored, encoded.stream, encoded.bits, sha256)
            bitstreams.note_verified(session, sha256)
            stored.seconds, stored.notes = dict(encoded.seconds), list(encoded.notes)
            stored.usage = queries.usage_of(session, context.claim)
            session.merge(DescriptionRecord(image_id=image.id, describer=encoded.describer, content=_content(encoded)))
            if not stored.keep_original and stored.original_key is not None:
                object_lifecycle.drop(session, stored.original_key, shared=False)
                stored.original_key = None
            return dict(encoded.seconds)

        return _record

    def _encode(self, context: WorkContext, image: Image) -> Encoded:
        options = parse_options(EncodeOptions, image.options)
        slots = self._shop.slots
        # Before the model is paid: what cannot be done here must not cost anything.
        dependencies = resolve(self._shop.dependencies, options, self._shop.weights)
        check_options(options, dependencies, has_reference=image.reference_key is not None)
        context.progress("fetch", 0.0)
        picture: Picture | None = None
        outcome: ModelOutcome | None = None
        ask_seconds = 0.0
        if needs_model(options):
            with slots.one(context.cancelled):
                picture = _open(context.storage, image)
                shown = self._shop.model_view(picture)
                if picture.width * picture.height > _KEPT_PIXELS:
                    picture = None
            context.progress("describe", _STAGE_SHARES["describe"][0])
            if options.batch:
                self._defer_for_batch(context, shown)
            started = time.perf_counter()
            outcome = ask(shown, dependencies, context.cancelled)
            ask_seconds = time.perf_counter() - started
            if outcome.answer is not None:
                transitions.record_usage(context.database, context.claim, asdict(outcome.answer.usage))

        def _on_stage(stage: str, fraction: float) -> None:
            start, end = _STAGE_SHARES.get(stage, (0.05, 0.9))
            context.progress(stage, start + (end - start) * fraction)

        with slots.one(context.cancelled):
            encoded = encode(
                picture or _open(context.storage, image),
                options,
                source_name=image.name,
                reference=_reference(context.storage, image),
                dependencies=dependencies,
                outcome=outcome,
                on_stage=_on_stage,
                cancelled=context.cancelled,
                pack_stream=lambda stream: self._shop.coders.pack(stream, context.cancelled),
            )
        seconds = {stage: spent + ask_seconds * (stage in _ASKING) for stage, spent in encoded.seconds.items()}
        return replace(encoded, seconds=seconds)

    def _defer_for_batch(self, context: WorkContext, shown: Picture) -> None:
        """Defer the job until a batch brings its answer, unless it was deferred before: then it asks for itself."""
        claim, batches, patience = context.claim, self._shop.batches, self._shop.patience
        if batches is None or llm_batches.was_deferred(context.database, claim.job_id):
            return
        line = batches.request(shown)
        if self._shop.cache.get(line.key) is not None:
            return
        sha256 = hashlib.sha256(line.data).hexdigest()
        stored = NewObject(request_key(sha256), sha256, len(line.data))
        object_lifecycle.store(context.database, context.storage, stored, line.data)
        request = llm_batches.BatchItem(line.key, stored.key, stored.size_bytes, line.cost)
        raise JobDeferred(lambda session: llm_batches.defer(session, claim, request, patience))

    def _verify(self, context: WorkContext, sha256: str, encoded: Encoded) -> None:
        """Read the stored stream as a decoder would; raises before anything was recorded or deleted."""
        data = bitstreams.get(context.storage, sha256)
        stream = self._shop.coders.unpack(data, context.cancelled)
        if _as_coded(stream) != _as_coded(encoded.stream):
            raise StreamCorrupt("The stored stream reads differently from what was encoded; the original is kept.")
        with self._shop.slots.one(context.cancelled):
            rebuild_coarse(stream, reference=encoded.reference, find_network=find_in(self._shop.weights))


def _open(storage: Storage, image: Image) -> Picture:
    assert image.original_key is not None
    with fetched(storage, image.original_key, image.original_sha256) as path:
        return open_picture(path)


def _reference(storage: Storage, image: Image) -> Reference | None:
    data = references.get(storage, image)
    return None if data is None else Reference(data, (image.declared_bits or 0) / (image.width * image.height))


def _as_coded(stream: Stream) -> Stream:
    """The stream with a reference's file replaced by its payload: the wrapper around it is rebuilt, not stored, and
    need not have the bytes that the encoder's library wrote."""
    if not isinstance(stream.coarse, RefCoarse):
        return stream
    payload = encode_reference(stream.coarse, stream.width, stream.height)
    return replace(stream, coarse=replace(stream.coarse, file=payload))


def _content(encoded: Encoded) -> dict[str, object]:
    items = [{"name": item.name, "detail": item.detail} for item in encoded.description.items]
    return {"items": items, "overall": encoded.description.overall}
