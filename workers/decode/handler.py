"""Restores one picture from a stored stream."""

from codec.decode.engine.engine import Engine
from codec.decode.restorers import Restorers
from codec.decode_price import DecodeLimits
from codec.picture.credentials import Signer
from codec.weights.store import WeightsStore
from workers.context import Record, WorkContext
from workers.decode.task import DecodeTask


class DecodeHandler:
    """Handles decode jobs with the networks of this machine; called from many threads, whose steps `engine` takes."""

    def __init__(
        self,
        weights: WeightsStore,
        restorers: Restorers,
        engine: Engine,
        preview_seconds: float,
        limits: DecodeLimits,
        signer: Signer | None,
    ) -> None:
        """`preview_seconds`: at least so much time lies between two preview pictures of a job; `signer`: who signs what
        is made here, if anybody does."""
        self._weights, self._restorers, self._engine = weights, restorers, engine
        self._preview_seconds, self._limits, self._signer = preview_seconds, limits, signer

    def __call__(self, context: WorkContext) -> Record:
        """Load the stream, restore the picture, store it with its provenance."""
        task = DecodeTask.load(context, self._limits)
        with self._engine.place(task.pixels, context.check_cancelled), context.at_work():
            # Networks that were evicted, or never asked for, are loaded now.
            context.progress("load", 0.02)
            with self._restorers.use(task.options, context.check_cancelled) as restorer:
                decoded = task.decode(restorer, self._weights, self._preview_seconds, self._engine.drive)
        stored = task.store(decoded, self._signer)
        return lambda session: task.record(session, decoded, stored)
