"""A worker process with nothing but a task that does nothing: what the queue alone can do. For `bench.service`."""

import sys
import warnings

from celery import Celery
from celery.platforms import SecurityWarning

from core.broker import make_celery
from core.settings import BrokerSettings

NOOP_TASK = "bench.noop"
QUEUE = "bench"


def bare_app() -> Celery:
    """The production Celery settings, with the one task."""
    app = make_celery(BrokerSettings())

    @app.task(name=NOOP_TASK)  # type: ignore[untyped-decorator] # Celery has no types
    def noop() -> None:
        pass

    return app


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=SecurityWarning)
    bare_app().Worker(
        queues=[QUEUE],
        pool="threads",
        concurrency=int(sys.argv[1]),
        loglevel="WARNING",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    ).start()
