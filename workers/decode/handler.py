"""Paints one reconstruction from a stored stream."""

import hashlib

from sqlalchemy.orm import Session

from codec.decode.pipeline import decode
from codec.decode.restore import RestoreState
from codec.decode.restorers import Restorers
from codec.nets.compression.load import find_in
from codec.options import DecodeOptions, parse_options
from codec.picture.save import Provenance, require_format, save_picture
from codec.weights.store import WeightsStore
from core.archive import bitstreams, object_lifecycle, references
from core.archive.object_lifecycle import NewObject
from core.errors import LeaseLost
from core.storage.keys import reconstruction_key
from models.image import Image
from models.reconstruction import Reconstruction, ReconstructionState
from workers.context import Record, WorkContext
from workers.decode.preview import Previews


class Decoder:
    """Does decode jobs with the networks of this machine; called from many threads."""

    def __init__(self, weights: WeightsStore, restorers: Restorers, preview_seconds: float) -> None:
        """`preview_seconds`: at least so much time lies between two preview pictures of a job."""
        self._weights, self._restorers = weights, restorers
        self._preview_seconds = preview_seconds

    def decode_image(self, context: WorkContext) -> Record:
        """Read the stream, paint the picture, store it with its provenance."""
        with context.database.read() as session:
            reconstruction = session.get(Reconstruction, context.claim.reconstruction_id)
            image = None if reconstruction is None else session.get(Image, reconstruction.image_id)
        if reconstruction is None or image is None or image.bitstream_sha256 is None:
            raise LeaseLost("The image was deleted.")
        require_format(reconstruction.format, image.width, image.height)
        context.progress("fetch", 0.0)
        stream_sha256 = image.bitstream_sha256
        data = bitstreams.get(context.storage, stream_sha256)
        reference = references.get(context.storage, image)
        options = parse_options(DecodeOptions, reconstruction.options)
        previews = Previews(self._preview_seconds)

        def _show(state: RestoreState) -> None:
            if (preview := previews.look(state)) is not None:
                context.show(preview)

        # Networks that were let go, or never asked for, are loaded now.
        context.progress("load", 0.02)
        with self._restorers.use(options) as restorer:
            decoded = decode(
                data,
                options,
                reference=reference,
                restorer=restorer,
                find_network=find_in(self._weights),
                on_progress=lambda stage, fraction: context.progress(stage, 0.05 + 0.85 * fraction),
                on_step=_show,
                cancelled=context.check_cancelled,
            )
        context.progress("store", 0.9)
        provenance = Provenance(
            restorer=decoded.restorer,
            stream_sha256=stream_sha256,
            seed=decoded.seed,
            generative=decoded.generative,
            settings=decoded.settings,
        )
        file = save_picture(decoded.picture, reconstruction.format, provenance)
        sha256 = hashlib.sha256(file).hexdigest()
        new = NewObject(reconstruction_key(sha256, reconstruction.format), sha256, len(file))
        object_lifecycle.store(context.database, context.storage, new, file)

        def _record(session: Session) -> dict[str, float]:
            stored = session.get(Reconstruction, reconstruction.id, with_for_update=True)
            if stored is None:
                raise LeaseLost("The image was deleted.")
            object_lifecycle.retain(session, new)
            stored.state = ReconstructionState.READY
            stored.sha256, stored.object_key, stored.size_bytes = new.sha256, new.key, new.size_bytes
            stored.width, stored.height = decoded.picture.size
            stored.restorer, stored.schedule, stored.seed = decoded.restorer, decoded.schedule, decoded.seed
            stored.seconds = dict(decoded.seconds)
            return dict(decoded.seconds)

        return _record
