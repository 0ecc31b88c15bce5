"""`/v1/jobs/{id}/events`: a job's events as they happen. Events may be lost, so the database is asked as well."""

import re
import time
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated

import anyio
from fastapi import APIRouter, Depends, Header, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import WithJsonSchema
from starlette.concurrency import run_in_threadpool

from api.auth import CallerDependency
from api.identifiers import JobId
from api.jobs.endpoints import read_job
from api.jobs.schemas import JobOut
from api.services import Services, ServicesDependency
from core.errors import LimitReached, NotFound, RequestInvalid, ServiceError
from core.logging import get_logger
from core.owners.caller import Caller

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
_log = get_logger(__name__)

_STREAM_ID = "[0-9]{1,19}(-[0-9]{1,19})?"
_DRAIN_SECONDS = 0.001
"""Waiting for nothing: takes what is there already."""


async def _last_event_id(
    last_event_id: Annotated[
        str | None,
        Header(description="The id of the last event that was received; goes on from there."),
        WithJsonSchema({"type": "string", "pattern": f"^({_STREAM_ID})?$"}),
    ] = None,
) -> str | None:
    if last_event_id is None or not last_event_id.strip():
        return None
    if re.fullmatch(_STREAM_ID, last_event_id.strip()) is None:
        raise RequestInvalid("Last-Event-ID is none that this service gave out.")
    return last_event_id.strip()


class StreamLimit:
    """How many event streams are open: over all callers, and a quarter of that for each of them."""

    def __init__(self, most: int) -> None:
        self._most, self._most_each = most, max(1, most // 4)
        self._open: Counter[str] = Counter()

    @contextmanager
    def one(self, caller: str) -> Iterator[None]:
        """Count one stream while the block runs; raises LimitReached."""
        if self._open.total() >= self._most or self._open[caller] >= self._most_each:
            raise LimitReached("Too many event streams are open. Close some, or ask for the job's state instead.")
        self._open[caller] += 1
        try:
            yield
        finally:
            self._open[caller] -= 1
            self._open += Counter()  # forgets callers that have none


async def _begin(
    request: Request,
    services: ServicesDependency,
    caller: CallerDependency,
    job_id: JobId,
    last_id: Annotated[str | None, Depends(_last_event_id)],
) -> AsyncIterator["_Watch"]:
    """Look at the job before the answer begins, so that an unknown one is a 404 and no broken stream."""
    limit: StreamLimit = request.app.state.stream_limit
    address = request.client.host if request.client is not None else ""
    with limit.one(f"{caller.owner} {address}"):
        # Events come before the state: what happens between the two is then sent twice rather than never.
        after = last_id or await services.event_reader.latest(job_id)
        job = await run_in_threadpool(read_job, services, caller.view, job_id)
        yield _Watch(services, caller, after, job, is_resumed=last_id is not None)


@router.get(
    "/{job_id}/events",
    summary="Follow a job",
    response_class=EventSourceResponse,
    responses={
        200: {
            "description": "Events `state` (data: the job), `progress` (data: stage and progress) and, while a "
            "picture is restored, `preview` (data: `step` of `steps`, `width`, `height`, `media_type`, and a "
            "small picture as base64 in `data`)."
        }
    },
)
async def follow_job(watch: Annotated["_Watch", Depends(_begin)]) -> AsyncIterable[ServerSentEvent]:
    """Server-sent events. The first is the job as it is now, unless `Last-Event-ID` says where to go on; the last is
    its end. `state` carries the whole job, `progress` carries `stage` and `progress`, `preview` a small picture of a
    reconstruction as it stands, at most some dozen times. Comments keep the line alive."""
    async for event in watch.events():
        yield event


class _Watch:
    """One caller that follows one job."""

    def __init__(self, services: Services, caller: Caller, after: str, job: JobOut, *, is_resumed: bool) -> None:
        self._services, self._caller, self._job_id, self._after = services, caller, job.id, after
        self._job, self._is_resumed = job, is_resumed

    async def events(self) -> AsyncIterator[ServerSentEvent]:
        poll_seconds = self._services.settings.events_poll.total_seconds()
        wait_seconds = _DRAIN_SECONDS if self._is_resumed else poll_seconds
        last_sent: JobOut | None = None
        if not self._is_resumed:
            last_sent = self._job
            yield self._state(last_sent)
        while last_sent is None or not last_sent.state.is_final:
            began = time.monotonic()
            async for event in self._services.event_reader.follow(self._job_id, self._after, wait_seconds):
                self._after = event.id
                if event.name != "state":
                    if not await self._may_go_on():
                        return
                    yield ServerSentEvent(event=event.name, id=event.id, data=event.data)
                    continue
                now = await self._look()
                if now is None:
                    return
                last_sent = now
                yield self._state(last_sent)
                if last_sent.state.is_final:
                    return
            if self._services.is_stopping():
                return
            # Without Redis the line above returns at once; the pace has to come from here.
            await anyio.sleep(max(0.0, wait_seconds - (time.monotonic() - began)))
            wait_seconds = poll_seconds
            now = await self._look()
            if now is None:
                return
            if last_sent is None or _differs(now, last_sent):
                last_sent = now
                yield self._state(last_sent)

    def _state(self, job: JobOut) -> ServerSentEvent:
        return ServerSentEvent(event="state", id=self._after, data=job)

    async def _may_go_on(self) -> bool:
        """Whether the caller's key is still good; taken for good while the database is away."""
        if self._caller.key_sha256 is None:
            return True
        try:
            return await run_in_threadpool(self._services.api_keys.still_knows, self._caller)
        except ServiceError:
            return True

    async def _look(self) -> JobOut | None:
        """The job as it is now, or as it was while the database is away; None when it was deleted, or when the
        caller's key was revoked."""
        try:
            if not await self._may_go_on():
                return None
            self._job = await run_in_threadpool(read_job, self._services, self._caller.view, self._job_id)
        except NotFound:
            return None
        except ServiceError as error:
            _log.warning("job_not_read", job_id=self._job_id, code=error.code)
        return self._job


def _differs(now: JobOut, last_sent: JobOut) -> bool:
    """True when something changed that no progress event carries."""
    return (now.state, now.queue_position, now.attempts, now.cancel_requested) != (
        last_sent.state,
        last_sent.queue_position,
        last_sent.attempts,
        last_sent.cancel_requested,
    )
