"""The steps of one decode job, in their order."""

import hashlib
from dataclasses import dataclass
from typing import Self, cast

from sqlalchemy.orm import Session

from codec.decode.pipeline import Decoded, Drive, decode
from codec.decode.restore import Restorer, RestoreState
from codec.decode_price import DecodeLimits
from codec.nets.compression.load import find_in
from codec.options import DecodeOptions, parse_options
from codec.picture.credentials import Signer
from codec.picture.save import PictureFormat, require_format, save_picture
from codec.weights.store import WeightsStore
from core.archive import bitstreams, object_lifecycle, references
from core.archive.object_lifecycle import NewObject
from core.errors import LeaseLost
from core.storage.keys import reconstruction_key
from models.image import Image
from models.reconstruction import Reconstruction, ReconstructionState
from workers.context import WorkContext
from workers.decode.preview import Previews


@dataclass(frozen=True)
class DecodeTask:
    """One attempt to make one reconstruction: its stream, the file of an external coarse picture, and its options.

    `pixels`: of the picture.
    """

    context: WorkContext
    reconstruction_id: str
    format: PictureFormat
    options: DecodeOptions
    pixels: int
    stream: bytes
    reference: bytes | None

    @classmethod
    def load(cls, context: WorkContext, limits: DecodeLimits) -> Self:
        """Read the order and fetch its stream.

        Raises LeaseLost for a deleted image, OptionError and FeatureUnavailable for a format that cannot be written,
        and DecodeTooCostly for an order that the API took under wider limits.
        """
        with context.database.read() as session:
            row = session.get(Reconstruction, context.claim.reconstruction_id)
            image = None if row is None else session.get(Image, row.image_id)
        if row is None or image is None or image.bitstream_sha256 is None:
            raise LeaseLost("The image was deleted.")
        picture_format = cast(PictureFormat, row.format)
        require_format(picture_format, image.width, image.height)
        options = parse_options(DecodeOptions, row.options)
        limits.check(options, image.width, image.height)
        context.progress("fetch", 0.0)
        stream = bitstreams.get(context.database, context.storage, image.bitstream_sha256)
        reference = references.get(context.database, context.storage, image)
        return cls(context, row.id, picture_format, options, image.width * image.height, stream, reference)

    def decode(self, restorer: Restorer, weights: WeightsStore, preview_seconds: float, drive: Drive) -> Decoded:
        """Restore the picture by steps that `drive` takes; watchers see it at least `preview_seconds` apart."""
        previews = Previews(preview_seconds)

        def _publish_preview(state: RestoreState) -> None:
            if (preview := previews.look(state)) is not None:
                self.context.publish_preview(preview)

        return decode(
            self.stream,
            self.options,
            reference=self.reference,
            restorer=restorer,
            find_network=find_in(weights),
            on_progress=lambda stage, fraction: self.context.progress(stage, 0.05 + 0.85 * fraction),
            on_step=_publish_preview,
            cancelled=self.context.check_cancelled,
            drive=drive,
        )

    def store(self, decoded: Decoded, signer: Signer | None) -> NewObject:
        """Put the picture with its provenance into storage."""
        self.context.progress("store", 0.9)
        file = save_picture(decoded.picture, self.format, decoded.provenance(), signer)
        sha256 = hashlib.sha256(file).hexdigest()
        stored = NewObject(reconstruction_key(sha256, self.format), sha256, len(file))
        object_lifecycle.store(self.context.database, self.context.storage, stored, file)
        self.context.sizes = {"in": len(self.stream) + len(self.reference or b""), "out": len(file)}
        return stored

    def record(self, session: Session, decoded: Decoded, stored: NewObject) -> dict[str, float]:
        """Note the picture and how it was made on the reconstruction; returns the seconds of the stages."""
        row = session.get(Reconstruction, self.reconstruction_id, with_for_update=True)
        if row is None:
            raise LeaseLost("The image was deleted.")
        object_lifecycle.retain(session, stored)
        row.state = ReconstructionState.READY
        row.sha256, row.object_key, row.size_bytes = stored.sha256, stored.key, stored.size_bytes
        row.width, row.height = decoded.picture.size
        row.restorer, row.schedule, row.seed = decoded.restorer, decoded.schedule, decoded.seed
        row.seconds, row.weights = dict(decoded.seconds), dict(decoded.weights)
        return dict(decoded.seconds)
