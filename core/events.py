"""Job events for watchers: a short Redis stream for each job, with ids that a dropped connection resumes from.

Events are news, not truth: a reader that misses some reads the job itself. What was lost with Redis is not missed.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import redis
import redis.asyncio

from core.background import MicroBatcher
from core.broker import connect_redis
from core.logging import get_logger
from core.settings import BrokerSettings

_KEPT_EVENTS = 200
_KEPT_SECONDS = 3600

_GATHER_SECONDS = 0.02
"""Nobody sees this delay, and on a busy worker many events share one round trip."""

_READER_CONNECTIONS = 16
"""One reads all streams; the others look up where streams end, for a moment each."""

_POOL_WAIT_SECONDS = 5
_BLOCK_SECONDS = 0.1
"""How soon a stream that a new watcher added is read with the others."""

_RETRY_SECONDS = 1.0
_WARNING_SECONDS = 30.0

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
    """The reading side, for many watchers in one event loop: all streams are read together by one connection.

    What Redis does not give is not missed: a watcher that hears nothing asks the database.
    """

    def __init__(self, settings: BrokerSettings) -> None:
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            settings.address.redis_py,
            decode_responses=True,
            socket_connect_timeout=5,
            max_connections=_READER_CONNECTIONS,
            timeout=_POOL_WAIT_SECONDS,
        )
        self._redis = redis.asyncio.Redis.from_pool(pool)
        self._streams: dict[str, _WatchedStream] = {}
        self._task: asyncio.Task[None] | None = None
        self._last_warning = -_WARNING_SECONDS

    async def latest(self, job_id: str) -> str:
        """The id of the last event that is kept; "0-0" when there is none or Redis does not answer."""
        try:
            newest: Any = await self._redis.xrevrange(_stream_key(job_id), count=1)
        except (redis.RedisError, OSError) as error:
            self._warn(error)
            return "0-0"
        return str(newest[0][0]) if newest else "0-0"

    async def follow(self, job_id: str, after: str, wait_seconds: float) -> AsyncGenerator[JobEvent, None]:
        """Yield the events after the id `after` ("0" for all that are kept); end when none came for `wait_seconds`."""
        key = _stream_key(job_id)
        stream = self._streams.setdefault(key, _WatchedStream(after))
        arrivals: asyncio.Queue[JobEvent] = asyncio.Queue(_KEPT_EVENTS)
        stream.watchers.append(arrivals)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._read_all())
        try:
            # What is there comes at once, also where another watcher's place in the stream is past this one's.
            for event in await self._kept_after(key, after):
                after = event.id
                yield event
            while True:
                try:
                    event = await asyncio.wait_for(arrivals.get(), wait_seconds)
                except TimeoutError:
                    return
                if _order_of(event.id) > _order_of(after):
                    after = event.id
                    yield event
        finally:
            stream.watchers.remove(arrivals)
            if not stream.watchers and self._streams.get(key) is stream:
                del self._streams[key]

    async def close(self) -> None:
        """Give the connections back."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    async def _kept_after(self, key: str, after: str) -> list[JobEvent]:
        try:
            entries: Any = await self._redis.xrange(key, min=f"({after}", count=_KEPT_EVENTS)
        except (redis.RedisError, OSError) as error:
            self._warn(error)
            return []
        return [_event_of(entry) for entry in entries]

    async def _read_all(self) -> None:
        """Read every watched stream until nobody watches any more."""
        while self._streams:
            places: Any = {key: stream.place for key, stream in self._streams.items()}
            try:
                answer: Any = await self._redis.xread(places, count=_KEPT_EVENTS, block=int(_BLOCK_SECONDS * 1000))
            except (redis.RedisError, OSError) as error:
                self._warn(error)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            for key, entries in answer or ():
                if (stream := self._streams.get(key)) is not None:
                    stream.place = entries[-1][0]
                    stream.hand_out([_event_of(entry) for entry in entries])

    def _warn(self, error: Exception) -> None:
        """Once in a while: every watcher meets the same outage."""
        if time.monotonic() - self._last_warning >= _WARNING_SECONDS:
            self._last_warning = time.monotonic()
            _log.warning("events_not_read", error=str(error))


class _WatchedStream:
    """A job's stream: how far it was read, and who waits for what comes."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.watchers: list[asyncio.Queue[JobEvent]] = []

    def hand_out(self, events: list[JobEvent]) -> None:
        for arrivals in self.watchers:
            for event in events:
                if arrivals.full():
                    # A watcher that reads slowly loses the oldest; the state itself it asks of the database.
                    arrivals.get_nowait()
                arrivals.put_nowait(event)


def _event_of(entry: Any) -> JobEvent:
    entry_id, fields = entry
    return JobEvent(entry_id, fields["name"], json.loads(fields["data"]))


def _order_of(event_id: str) -> tuple[int, int]:
    moment, _, number = event_id.partition("-")
    return int(moment), int(number or 0)
