"""The steps of one encode job, in their order.

A full picture is held under the picture semaphore only. Nobody waits for the language model there, so that many jobs
may wait.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Self

from PIL.Image import Image as Picture
from sqlalchemy.orm import Session

from codec.bitstream import RefCoarse, Stream
from codec.bitstream.coarse.reference import encode_reference
from codec.decode.coarse import rebuild_coarse
from codec.encode.coarse.external import Reference
from codec.encode.dependencies import EncodeDependencies, needs_model, resolve
from codec.encode.describe.choose import ModelOutcome, ask
from codec.encode.pipeline import Encoded, check_options, encode
from codec.errors import BudgetExhausted, StreamCorrupt
from codec.language_model import Answer
from codec.nets.compression.load import find_in
from codec.options import DecodeOptions, EncodeOptions, parse_options
from codec.picture.likeness import perceptual_hash
from codec.picture.open import OpenedPicture
from core.archive import bitstreams, images, likeness, object_lifecycle, references
from core.archive.object_lifecycle import NewObject
from core.describing import llm_batches
from core.describing.purse import salt_of
from core.errors import LeaseLost, ObjectCorrupt
from core.jobs import claims, queries
from core.owners.view import View
from core.storage.keys import request_key
from models.base import JSONObject
from models.image import Image
from workers.context import JobDeferred, WorkContext, temporary_copy
from workers.encode.resources import EncodeResources

if TYPE_CHECKING:
    from codec.metrics.ingest import Quality

_STAGE_SHARES: Mapping[str, tuple[float, float]] = {
    # Where in the whole job each stage of the codec begins and ends.
    "describe": (0.05, 0.5),
    "locate": (0.5, 0.55),
    "coarse": (0.55, 0.85),
    "pack": (0.85, 0.9),
}

_DESCRIBE_SECONDS = ("describe", "total")
"""The entries of the codec's own account that the wait for a model belongs to."""

_MOST_ALIKE = 50
"""Looked through for the very same file."""

_KEPT_PIXELS = 1_000_000
"""A picture up to this (3 MB) is kept while a model is asked; fetching and opening it again would take longer. A larger
one is opened again, since as many may wait as the process has threads."""


@dataclass(frozen=True)
class Consultation:
    """What came of asking the language model: nothing where none was needed, and the picture if it was kept."""

    outcome: ModelOutcome | None = None
    seconds: float = 0.0
    picture: OpenedPicture | None = None


@dataclass(frozen=True)
class Made:
    """A stream, and what was found out about it: `quality` as it is kept, where the picture was decoded at once."""

    encoded: Encoded
    quality: JSONObject | None = None
    perceptual_hash: int | None = None
    keeps_original: bool = False
    """Whether it is not good enough to be without what it was made of."""


@dataclass(frozen=True)
class EncodeTask:
    """One attempt to encode one image."""

    context: WorkContext
    resources: EncodeResources
    image: Image
    options: EncodeOptions
    dependencies: EncodeDependencies

    @classmethod
    def load(cls, context: WorkContext, resources: EncodeResources) -> Self:
        """Read the image and its options, and load the networks they need.

        Raises LeaseLost for a deleted image, and CodecError children for options that cannot be met here: before a
        model is paid.
        """
        with context.database.read() as session:
            image = session.get(Image, context.claim.image_id)
        if image is None or image.original_key is None:
            raise LeaseLost("The image was deleted.")
        options = parse_options(EncodeOptions, image.options)
        dependencies = resolve(resources.dependencies_of(image.owner), options, resources.weights)
        check_options(options, dependencies, has_reference=image.reference_key is not None)
        if options.is_verified:
            resources.decode_limits.check(DecodeOptions(profile=options.profile), image.width, image.height)
            resources.meter.check(options)
        context.progress("fetch", 0.0)
        return cls(context, resources, image, options, dependencies)

    def consult_model(self) -> Consultation:
        """Have the language model describe the picture where the options ask for it; raises JobDeferred for a job
        that waits for a batch of requests."""
        if not needs_model(self.options):
            return Consultation()
        with self._slot():
            opened = self._open_original()
            shown = self.resources.model_view(opened.picture)
            kept = opened if opened.picture.width * opened.picture.height <= _KEPT_PIXELS else None
            del opened
        self.context.progress("describe", _STAGE_SHARES["describe"][0])
        answer = self._answer_of_batch(shown) if self.options.batch else None
        started = time.perf_counter()
        outcome = ModelOutcome(answer) if answer else ask(shown, self.dependencies, self.context.cancelled)
        seconds = time.perf_counter() - started
        if outcome.usage is not None:
            self.context.usage = outcome.usage
            claims.record_usage(self.context.database, self.context.claim, asdict(outcome.usage))
        return Consultation(outcome, seconds, kept)

    def encode(self, consultation: Consultation) -> Made:
        """Encode the original, and where it is asked for decode it and look how good it comes back."""
        with self._slot():
            opened = consultation.picture or self._open_original()
            hashed = perceptual_hash(opened.picture)
            if not self.options.is_verified:
                return Made(self._encode(opened, consultation, self.options), perceptual_hash=hashed)
            # Imported here: measuring needs PyTorch, which encoding by default does without.
            from codec.metrics.ingest import encode_verified

            verified = encode_verified(
                self.options,
                lambda options: self._encode(opened, consultation, options),
                lambda encoded: self._measure(opened.picture, encoded),
            )
        return Made(verified.encoded, verified.as_document(), hashed, keeps_original=verified.is_met is False)

    def _encode(self, opened: OpenedPicture, consultation: Consultation, options: EncodeOptions) -> Encoded:
        """One encode; the seconds include the wait for the model."""
        is_asked = options == self.options
        encoded = encode(
            opened.picture,
            options,
            source_name=self.image.name,
            reference=self._reference(),
            dependencies=self.dependencies if is_asked else self._dependencies_of(options),
            outcome=consultation.outcome,
            on_stage=self._progress,
            cancelled=self.context.cancelled,
            pack_stream=lambda stream: self.resources.coders.pack(stream, self.context.cancelled),
            picture_notes=opened.notes,
        )
        waits = dict.fromkeys(_DESCRIBE_SECONDS, consultation.seconds)
        return replace(
            encoded, seconds={stage: spent + waits.get(stage, 0.0) for stage, spent in encoded.seconds.items()}
        )

    def _dependencies_of(self, options: EncodeOptions) -> EncodeDependencies:
        return resolve(self.resources.dependencies_of(self.image.owner), options, self.resources.weights)

    def _measure(self, original: Picture, encoded: Encoded) -> "Quality":
        self.context.progress("measure", _STAGE_SHARES["pack"][1])
        return self.resources.meter.measure(original, encoded, self.context.cancelled)

    def store(self, encoded: Encoded) -> str:
        """Put the stream into storage; returns its SHA-256 in hexadecimal."""
        self.context.progress("store", 0.9)
        sha256 = hashlib.sha256(encoded.data).hexdigest()
        bitstreams.put(self.context.database, self.context.storage, encoded.data, sha256)
        self.context.sizes = {"in": self.image.original_bytes or 0, "out": len(encoded.data)}
        return sha256

    def verify(self, encoded: Encoded, sha256: str) -> None:
        """Read the stored stream as a decoder would; raises before anything was recorded or deleted."""
        self.context.progress("verify", 0.95)
        data = self._read_back(encoded, sha256)
        stream = self.resources.coders.unpack(data, self.context.cancelled)
        if _comparable(stream) != _comparable(encoded.stream):
            raise StreamCorrupt("The stored stream reads differently from what was encoded; the original is kept.")
        with self._slot():
            rebuild_coarse(stream, reference=encoded.reference, find_network=find_in(self.resources.weights))

    def likeness_in_words(self, hashed: int | None) -> list[str]:
        """A note of the picture of the same owner that this one is, or looks like."""
        view = View(self.image.owner)
        with self.context.database.read() as session:
            alike = likeness.similar(session, hashed, view, besides=self.image.id, limit=_MOST_ALIKE)
        same = [image for _, image in alike if image.original_sha256 == self.image.original_sha256]
        if not alike:
            return []
        other = same[0] if same else alike[0][1]
        what = "It is the very same file as" if same else "It looks like"
        return [f"{what} {other.name} ({other.id})."]

    def record(self, session: Session, made: Made, sha256: str, alike: Sequence[str]) -> dict[str, float]:
        """Note the stream on the image, with what it looks like, and discard the original; returns the seconds of the
        stages."""
        encoded = made.encoded
        image = session.get(Image, self.image.id, with_for_update={"of": Image})
        if image is None:
            raise LeaseLost("The image was deleted.")
        images.record_stream(session, image, encoded.stream, encoded.bits, sha256)
        bitstreams.note_verified(session, sha256)
        image.seconds = dict(encoded.seconds)
        notes = [*encoded.notes]
        if made.keeps_original:
            image.keep_original = True
            notes.append("The original is kept for that.")
        image.notes = [*notes, *alike]
        image.perceptual_hash = made.perceptual_hash
        image.usage = queries.usage_of(session, self.context.claim)
        image.quality = made.quality
        items = [{"name": item.name, "detail": item.detail} for item in encoded.description.items]
        content = {"items": items, "overall": encoded.description.overall}
        images.record_description(session, image, encoded.describer, content)
        if not image.keep_original and image.original_key is not None:
            object_lifecycle.drop(session, image.original_key, shared=False)
            image.original_key = None
        return dict(encoded.seconds)

    @contextmanager
    def _slot(self) -> Iterator[None]:
        """A place among those that may hold a full picture, at work there."""
        with self.resources.slots.one(self.context.cancelled), self.context.at_work():
            yield

    def _read_back(self, encoded: Encoded, sha256: str) -> bytes:
        """The stream as the storage has it. One that was there before and is damaged is replaced, once."""
        database, storage = self.context.database, self.context.storage
        try:
            return bitstreams.get(database, storage, sha256)
        except ObjectCorrupt:
            bitstreams.put(database, storage, encoded.data, sha256, replaces=True)
            return bitstreams.get(database, storage, sha256)

    def _progress(self, stage: str, fraction: float) -> None:
        start, end = _STAGE_SHARES.get(stage, (0.05, 0.9))
        self.context.progress(stage, start + (end - start) * fraction)

    def _open_original(self) -> OpenedPicture:
        assert self.image.original_key is not None
        key, storage = self.image.original_key, self.context.storage
        with (
            object_lifecycle.damage_noted(self.context.database, key),
            temporary_copy(storage, key, self.image.original_sha256) as path,
        ):
            return self.resources.pictures.open(path, cancelled=self.context.cancelled)

    def _reference(self) -> Reference | None:
        data = references.get(self.context.database, self.context.storage, self.image)
        if data is None:
            return None
        return Reference(data, (self.image.declared_bits or 0) / (self.image.width * self.image.height))

    def _answer_of_batch(self, shown: Picture) -> Answer | None:
        """The answer that a batch brought, or that is there already; None for a job that has to ask for itself.

        Raises JobDeferred, once a job: it waits until a batch brings its answer.
        """
        context, batches, patience = self.context, self.resources.batches, self.resources.patience
        if batches is None:
            return None
        key = llm_batches.key_waited_for(context.database, context.claim.job_id)
        if key is not None:
            # Whatever is asked by now: what was put to the model when the job was deferred has been paid for.
            return self.resources.cache.get(key)
        line = batches.request(shown, salt_of(self.image.owner))
        if (answer := self.resources.cache.get(line.key)) is not None:
            return answer
        try:
            self.resources.purse_of(self.image.owner).check(line.cost)
        except BudgetExhausted:
            # The job asks for itself and meets the same, where the fallback is known.
            return None
        sha256 = hashlib.sha256(line.data).hexdigest()
        stored = NewObject(request_key(sha256), sha256, len(line.data))
        object_lifecycle.store(context.database, context.storage, stored, line.data)
        request = llm_batches.BatchItem(line.key, stored.key, stored.size_bytes, line.cost)
        raise JobDeferred(lambda session: llm_batches.defer(session, context.claim, request, patience))


def _comparable(stream: Stream) -> Stream:
    """The stream with a reference's file replaced by its payload: the wrapper around it is rebuilt, not stored, and
    need not have the bytes that the encoder's library wrote."""
    if not isinstance(stream.coarse, RefCoarse):
        return stream
    payload = encode_reference(stream.coarse, stream.width, stream.height)
    return replace(stream, coarse=replace(stream.coarse, file=payload))
