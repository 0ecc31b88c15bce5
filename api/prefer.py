"""`Prefer: wait=30` (RFC 7240) on orders: the answer waits for the end of what was ordered, and has it where it comes
in time. Decides nothing about the order itself, which is safe before the wait begins."""

import re
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing

import anyio
from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from api.idempotent import IdempotentRun
from api.jobs.endpoints import read_job
from api.jobs.events import StreamLimit
from api.services import Services
from core.errors import LimitReached, ServiceError
from core.owners.caller import Caller

_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?([0-9]{1,6})\"?\s*(?=$|[,;])", re.IGNORECASE)

_MOST_SECONDS = 60.0
"""Proxies in front cut longer ones off."""


async def answer_after_wait(
    request: Request, services: Services, run: IdempotentRun, job_ids: Sequence[str], read: Callable[[], BaseModel]
) -> Response:
    """The run's own response, or, where the caller prefers to wait and all jobs end in time, 200 with what `read` gives
    then, however they ended.

    Who waits holds a connection as who follows a stream of events does, and counts as one: where there are too many
    nobody waits. A caller that has left is not waited for.
    """
    response, seconds = run.response(), _seconds_of(request)
    if seconds == 0 or response.status_code != 202:
        return response
    caller: Caller = request.scope["misc.caller"]
    limit: StreamLimit = request.app.state.stream_limit
    address = request.client.host if request.client is not None else ""
    try:
        with limit.one(f"{caller.owner} {address}"):
            deadline = time.monotonic() + seconds
            have_ended = [await _has_ended(request, services, caller, job_id, deadline) for job_id in job_ids]
            body = await run_in_threadpool(read) if all(have_ended) else None
    except LimitReached:
        return response
    except ServiceError:
        body = None  # what was ordered is on its way, whatever cannot be read now
    if body is not None:
        kept = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
        response = JSONResponse(body.model_dump(mode="json"), 200, kept)
    response.headers["Preference-Applied"] = f"wait={seconds:.0f}"
    return response


async def _has_ended(request: Request, services: Services, caller: Caller, job_id: str, deadline: float) -> bool:
    """Wait for the end of a job; raises ServiceError where it cannot be read."""
    poll_seconds = services.settings.events_poll.total_seconds()
    after = await services.event_reader.latest(job_id)
    while True:
        began = time.monotonic()
        job = await run_in_threadpool(read_job, services, caller.view, job_id)
        if job.state.is_final:
            return True
        left = min(poll_seconds, deadline - began)
        if left <= 0 or services.is_stopping() or await request.is_disconnected():
            return False
        has_news = False
        async with aclosing(services.event_reader.follow(job_id, after, left)) as events:
            async for event in events:
                after = event.id
                if event.name == "state":
                    has_news = True
                    break
        if not has_news:
            # Without Redis the line above returns at once; the pace has to come from here.
            await anyio.sleep(max(0.0, left - (time.monotonic() - began)))


def _seconds_of(request: Request) -> float:
    """How long the caller prefers to wait; 0 for not at all, also where it is said in a way that is not understood."""
    match = _WAIT.search(",".join(request.headers.getlist("prefer")))
    return 0.0 if match is None else min(float(match[1]), _MOST_SECONDS)
