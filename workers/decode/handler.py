"""Restores one picture from a stored stream."""

import time
from collections.abc import Callable
from functools import partial

from codec.decode.engine.engine import Engine
from codec.decode.engine.turns import Priority, Urgency
from codec.decode.pipeline import PreparedDecode
from codec.decode.restorers import Restorers
from codec.decode_price import DecodeLimits
from codec.picture.credentials import Signer
from codec.weights.store import WeightsStore
from core.tracing import span
from models.job import JobPriority
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
        urgency = partial(_urgency, context)
        with self._engine.place(task.pixels, context.check_cancelled, urgency), context.at_work():
            # Networks that were evicted, or never asked for, are loaded now.
            context.progress("load", 0.02)
            drive = partial(self._drive, context.claim.owner, urgency)
            with self._restorers.use(task.options, context.check_cancelled) as restorer:
                decoded = task.decode(restorer, self._weights, self._preview_seconds, drive)
        stored = task.store(decoded, self._signer)
        return lambda session: task.record(session, decoded, stored)

    def _drive(
        self,
        owner: str,
        urgency: Callable[[], Urgency],
        prepared: PreparedDecode,
        after_step: Callable[[], None],
        is_cancelled: Callable[[], bool],
    ) -> None:
        """Have the engine take all steps of a job, as one span: there may be hundreds."""
        with span("engine", misc__steps=prepared.state.steps_total) as traced:
            try:
                self._engine.drive(prepared, after_step, is_cancelled, owner=owner, urgency=urgency)
            finally:
                traced.note(misc__steps_done=prepared.state.steps_done)


def _urgency(context: WorkContext) -> Urgency:
    """How the engine calls the urgency of a job by now; a priority that only a newer version knows is no hurry."""
    priority = Priority.INTERACTIVE if context.priority == JobPriority.INTERACTIVE else Priority.BULK
    seconds_left = context.seconds_left
    return Urgency(priority, None if seconds_left is None else time.monotonic() + seconds_left)
