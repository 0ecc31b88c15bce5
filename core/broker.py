"""The queue of notifications: Celery on Redis, wrapped once. A message carries a job id and nothing else.

A message says that its queue has one job more: whoever reads it claims in the database the job whose turn it is, which
may be another one. So a lost, doubled or late message costs time and nothing else.
"""

from collections.abc import Iterable

import redis
from celery import Celery
from kombu.exceptions import LimitExceeded, OperationalError
from redis.backoff import NoBackoff
from redis.retry import Retry

from core.errors import BrokerUnavailable
from core.settings import BrokerSettings

RUN_TASK = "misc.run"
"""The one task: claim a job of the queue that the message came by, and do it. The id in it is for workers of before."""

ENCODE, DECODE, MAINTENANCE = "encode", "decode", "maintenance"
QUEUES = (ENCODE, DECODE, MAINTENANCE)

_PROBE_KEYS = ("misc:probe:list", "misc:probe:stream")

_VENDOR_ERRORS = (OperationalError, LimitExceeded, redis.RedisError, OSError)


def make_celery(settings: BrokerSettings) -> Celery:
    """The Celery application, the same for senders and workers."""
    address = settings.address
    app = Celery("misc", set_as_current=False)
    app.conf.update(
        # Both are named, because Celery prefers the environment's CELERY_BROKER_URL to the one name for both.
        broker_read_url=address.celery,
        broker_write_url=address.celery,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        # The claim in the database counts attempts; a message whose worker died must come back to be claimed.
        task_reject_on_worker_lost=True,
        task_create_missing_queues=True,
        task_default_queue=MAINTENANCE,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_send_task_events=settings.task_events,
        task_send_sent_event=settings.task_events,
        worker_enable_remote_control=False,
        event_queue_expires=60,
        broker_transport_options={
            "visibility_timeout": int(settings.visibility_timeout.total_seconds()),
            "socket_timeout": 20,
            "socket_connect_timeout": 5,
            "socket_keepalive": address.socket_path is None,
            "retry_on_timeout": True,
            "health_check_interval": 15,
            # A notification that cannot be sent stays in the outbox; kombu would try to connect for six seconds first.
            "max_retries": 1,
            "interval_start": 0.1,
        },
        broker_pool_limit=4,
    )
    return app


class Broker:
    """Sends notifications, counts those that wait in a queue, and elects a leader among processes."""

    def __init__(self, settings: BrokerSettings, app: Celery | None = None) -> None:
        self._app = app or make_celery(settings)
        self._redis = connect_redis(settings)
        self._check_redis = connect_redis(settings, patient=False)

    def notify(self, job_ids: Iterable[str], queue: str) -> None:
        """Send a notification for each job; raises BrokerUnavailable, after which some may have been sent."""
        try:
            with self._app.producer_pool.acquire(block=True, timeout=10) as producer:
                for job_id in job_ids:
                    self._app.send_task(
                        RUN_TASK, args=(job_id,), queue=queue, producer=producer, retry=False, ignore_result=True
                    )
        except _VENDOR_ERRORS as error:
            raise BrokerUnavailable(f"Redis did not take a notification: {error}") from error

    def waiting(self, queue: str) -> int:
        """Messages in the queue that no worker has taken yet."""
        try:
            return int(self._redis.llen(queue))
        except _VENDOR_ERRORS as error:
            raise BrokerUnavailable(f"Redis did not answer: {error}") from error

    def acquire_leadership(self, name: str, holder: str, seconds: float) -> bool:
        """True for one holder at a time, which asks again to keep it. Saves work only: two leaders must do no harm."""
        key = f"misc:lead:{name}"
        try:
            if self._redis.set(key, holder, nx=True, px=int(seconds * 1000)):
                return True
            if self._redis.get(key) != holder:
                return False
            self._redis.pexpire(key, int(seconds * 1000))
            return True
        except _VENDOR_ERRORS as error:
            raise BrokerUnavailable(f"Redis did not answer: {error}") from error

    def check(self) -> None:
        """Raise BrokerUnavailable unless Redis takes what jobs will write, which a replica, one without memory and a
        user with few rights refuse although they answer PING."""
        try:
            pipe = self._check_redis.pipeline(transaction=True)
            pipe.lpush(_PROBE_KEYS[0], "")
            pipe.xadd(_PROBE_KEYS[1], {"name": ""}, maxlen=1)
            pipe.delete(*_PROBE_KEYS)
            # Celery's own keys: taking out what never was in them changes nothing, and needs the right to.
            pipe.hdel("unacked", _PROBE_KEYS[0])
            pipe.zrem("unacked_index", _PROBE_KEYS[0])
            for queue in QUEUES:
                pipe.persist(queue)
                pipe.srem(f"_kombu.binding.{queue}", _PROBE_KEYS[0])
            pipe.execute()
        except redis.ResponseError as error:
            raise BrokerUnavailable(f"Redis answers but does not take what jobs write: {error}") from error
        except _VENDOR_ERRORS as error:
            raise BrokerUnavailable(f"Redis did not answer: {error}") from error

    def close(self) -> None:
        """Give the connections back."""
        self._redis.close()
        self._check_redis.close()
        self._app.close()


def connect_redis(settings: BrokerSettings, *, patient: bool = True) -> redis.Redis:
    """A Redis client with bounded waits; a `patient` one tries a command again while there is no connection."""
    client = redis.Redis.from_url(
        settings.address.redis_py, decode_responses=True, socket_timeout=10, socket_connect_timeout=5
    )
    if not patient:
        client.set_retry(Retry(NoBackoff(), 0))
    return client
