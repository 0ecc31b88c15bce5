"""Job events for watchers: a short Redis stream for each job, with ids that a dropped connection resumes from.

Events are news, not truth: a reader that misses some reads the job itself. What was lost with Redis is not missed.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import redis
import redis.asyncio

from core.background import MicroBatcher
from core.broker import client_url, connect_redis
from core.logging import get_logger
from core.settings import BrokerSettings

_KEPT_EVENTS = 200
_KEPT_SECONDS = 3600

_GATHER_SECONDS = 0.02
"""Nobody sees this delay, and on a busy worker many events share one round trip."""

_log = get_logger(__name__)


@dataclass(frozen=True)
class JobEvent:
    """One event: `id` is a Redis stream id, `name` is "state", "progress" or "preview"."""

    id: str
    name: str
    data: dict[str, Any]


def _stream_key(job_id: str) -> str:
    return f"misc:events:{job_id}"


class EventLog:
    """The writing side: publishing returns at once, and a thread sends what has gathered in one round trip.

    It never fails a job: what an unreachable Redis did not take is logged and forgotten.
    """

    def __init__(self, settings: BrokerSettings) -> None:
        self._redis = connect_redis(settings)
        self._news: MicroBatcher[tuple[str, str, str]] = MicroBatcher(
            "event-log", _GATHER_SECONDS, _KEPT_EVENTS, self._send
        )
        self._news.start()

    def publish(self, job_id: str, name: str, data: dict[str, Any]) -> None:
        """Append an event; a job's stream goes an hour after its last one. Events keep their order."""
        self._news.put((job_id, name, json.dumps(data)))

    def close(self) -> None:
        """Send what is left, then give the connections back."""
        self._news.close()
        self._redis.close()

    def _send(self, batch: list[tuple[str, str, str]]) -> None:
        pipe = self._redis.pipeline(transaction=False)
        for job_id, name, data in batch:
            pipe.xadd(_stream_key(job_id), {"name": name, "data": data}, maxlen=_KEPT_EVENTS, approximate=True)
        for job_id in {entry[0] for entry in batch}:
            pipe.expire(_stream_key(job_id), _KEPT_SECONDS)
        try:
            pipe.execute()
        except (redis.RedisError, OSError) as error:
            _log.warning("events_not_published", count=len(batch), error=str(error))


class EventReader:
    """The reading side, for many watchers in one event loop."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._redis: redis.asyncio.Redis = redis.asyncio.Redis.from_url(
            client_url(settings), decode_responses=True, socket_connect_timeout=5
        )

    async def latest(self, job_id: str) -> str:
        """The id of the last event that is kept; "0-0" when there is none or Redis does not answer."""
        try:
            newest: Any = await self._redis.xrevrange(_stream_key(job_id), count=1)
        except (redis.RedisError, OSError) as error:
            _log.warning("events_not_read", job_id=job_id, error=str(error))
            return "0-0"
        return str(newest[0][0]) if newest else "0-0"

    async def follow(self, job_id: str, after: str, wait_seconds: float) -> AsyncIterator[JobEvent]:
        """Yield the events after the id `after` ("0" for all that are kept); end when none came for `wait_seconds`."""
        while True:
            try:
                answer: Any = await self._redis.xread(
                    {_stream_key(job_id): after}, count=_KEPT_EVENTS, block=max(1, int(wait_seconds * 1000))
                )
            except (redis.RedisError, OSError) as error:
                _log.warning("events_not_read", job_id=job_id, error=str(error))
                return
            if not answer:
                return
            for entry_id, fields in answer[0][1]:
                after = entry_id
                yield JobEvent(entry_id, fields["name"], json.loads(fields["data"]))

    async def close(self) -> None:
        """Give the connections back."""
        await self._redis.aclose()
