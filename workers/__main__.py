"""`python -m workers QUEUE...`: one worker process that consumes the queues named; the first sets its concurrency.

Tells that it starts before it loads what takes seconds to load.
"""

import argparse
import sys

from codec.thread_waiting import sleep_soon
from core.errors import ServiceError
from core.logging import configure_logging, get_logger
from core.settings import LogSettings, load
from core.waiting import awaited

_QUEUES = ("encode", "decode", "maintenance")


def main() -> int:
    """Consume until a signal says stop; raises ServiceError."""
    parser = argparse.ArgumentParser(prog="python -m workers", description="Consume one or more job queues.")
    parser.add_argument("queues", nargs="+", choices=_QUEUES, metavar="QUEUE", help=" | ".join(_QUEUES))
    parser.add_argument("--concurrency", type=int, help="threads; default from MISC_WORKER_<QUEUE>_CONCURRENCY")
    arguments = parser.parse_args()
    sleep_soon()
    configure_logging(load(LogSettings), f"worker-{arguments.queues[0]}")
    get_logger(__name__).info("starting", queues=arguments.queues)
    with awaited("its libraries"):
        from workers.process import run_worker
    return run_worker(arguments.queues, arguments.concurrency)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ServiceError as error:
        sys.exit(f"misc worker: {error}")
