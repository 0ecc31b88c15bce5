"""`/v1/batches/{id}/events`: one stream for a whole batch, with its progress and how long it will take.

Everything is read off the database, so no event can be missed: each tells how the batch stands.
"""

import re
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator
from typing import Annotated

import anyio
from fastapi import APIRouter, Depends, Header, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import Field, WithJsonSchema
from starlette.concurrency import run_in_threadpool

from api.auth import CallerDependency
from api.batches.schemas import BatchOut, to_out
from api.identifiers import BatchId
from api.jobs.events import StreamLimit
from api.services import Services, ServicesDependency
from core.archive import batches
from core.errors import NotFound, RequestInvalid, ServiceError
from core.logging import get_logger
from core.owners.caller import Caller

router = APIRouter(prefix="/v1/batches", tags=["batches"])
_log = get_logger(__name__)

_LEAST_SECONDS = 1.0
_PAUSE_FACTOR = 20
"""Counting the jobs of a batch of many thousands takes a while; watchers must not keep the database busy with it."""

_WINDOW_SECONDS = 60.0
"""The pace of the last minute says how long the rest will take; a pause of the service is soon forgotten."""

_MILLION = 1_000_000


class BatchProgress(BatchOut):
    """How a batch stands, with the time that it will take at its present pace."""

    seconds_left: float | None = Field(description="Null while there is no pace to tell it from.")


async def _highest_progress(
    last_event_id: Annotated[
        str | None,
        Header(description="The id of the last event that was received; progress does not fall behind it."),
        WithJsonSchema({"type": "string", "pattern": "^([0-9]{1,7})?$"}),
    ] = None,
) -> float:
    given = (last_event_id or "").strip()
    if given and re.fullmatch("[0-9]{1,7}", given) is None:
        raise RequestInvalid("Last-Event-ID is none that this service gave out.")
    return min(int(given or 0), _MILLION) / _MILLION


async def _begin(
    request: Request,
    services: ServicesDependency,
    caller: CallerDependency,
    batch_id: BatchId,
    highest: Annotated[float, Depends(_highest_progress)],
) -> AsyncIterator["_Watch"]:
    """Look at the batch before the answer begins, so that an unknown one is a 404 and no broken stream."""
    limit: StreamLimit = request.app.state.stream_limit
    address = request.client.host if request.client is not None else ""
    with limit.one(f"{caller.owner} {address}"):
        first = await run_in_threadpool(_read, services, caller, batch_id)
        yield _Watch(services, caller, first, highest)


@router.get(
    "/{batch_id}/events",
    summary="Follow a batch",
    response_class=EventSourceResponse,
    responses={
        200: {"description": "Events `progress` (data: the batch with `seconds_left`); the last has `is_done`."}
    },
)
async def follow_batch(watch: Annotated["_Watch", Depends(_begin)]) -> AsyncIterable[ServerSentEvent]:
    """Server-sent events, each the batch as it is then, at most one a second and only when something changed. Progress
    never goes back within a stream, nor in one that goes on with `Last-Event-ID`, whatever becomes of workers and of
    this service. The stream ends when the batch is done. Comments keep the line alive."""
    async for event in watch.events():
        yield event


class _Watch:
    """One caller that follows one batch."""

    def __init__(self, services: Services, caller: Caller, first: BatchOut, highest: float) -> None:
        self._services, self._caller, self._batch = services, caller, first
        self._highest = highest
        self._pace = _Pace()
        self._read_seconds = 0.0

    async def events(self) -> AsyncIterator[ServerSentEvent]:
        sent: BatchOut | None = None
        while True:
            now = self._advanced(self._batch)
            self._pace.note(now.progress)
            if sent is None or now != sent:
                sent = now
                yield self._event(now)
            if now.is_done or self._services.is_stopping():
                return
            if not await self._look():
                return

    def _advanced(self, batch: BatchOut) -> BatchOut:
        """The batch with a progress that does not fall behind what was told: a job that is taken back begins anew."""
        self._highest = 1.0 if batch.is_done else max(self._highest, batch.progress)
        return batch.model_copy(update={"progress": self._highest})

    def _event(self, batch: BatchOut) -> ServerSentEvent:
        left = 0.0 if batch.is_done else self._pace.seconds_left(batch.progress)
        data = BatchProgress(**dict(batch), seconds_left=left)
        return ServerSentEvent(event="progress", id=str(round(batch.progress * _MILLION)), data=data)

    async def _look(self) -> bool:
        """Wait, then read the batch again; it stays as it was while the database is away. False when the caller gets to
        see it no more."""
        await anyio.sleep(max(_LEAST_SECONDS, self._read_seconds * _PAUSE_FACTOR))
        began = time.monotonic()
        try:
            if not await run_in_threadpool(self._services.api_keys.still_knows, self._caller):
                return False
            self._batch = await run_in_threadpool(_read, self._services, self._caller, self._batch.id)
        except NotFound:
            return False
        except ServiceError as error:
            _log.warning("batch_not_read", batch_id=self._batch.id, code=error.code)
        self._read_seconds = time.monotonic() - began
        return True


class _Pace:
    """How fast progress is made, by what was seen of it within the last minute."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()

    def note(self, progress: float) -> None:
        now = time.monotonic()
        self._seen.append((now, progress))
        while now - self._seen[0][0] > _WINDOW_SECONDS and len(self._seen) > 2:
            self._seen.popleft()

    def seconds_left(self, progress: float) -> float | None:
        moment, before = self._seen[0]
        passed, made = time.monotonic() - moment, progress - before
        return None if made <= 0 else (1.0 - progress) * passed / made


def _read(services: Services, caller: Caller, batch_id: str) -> BatchOut:
    with services.database.read() as session:
        return to_out(batches.get(session, batch_id, caller.view), batches.count(session, batch_id))
