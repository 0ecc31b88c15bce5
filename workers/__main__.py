"""`python -m workers QUEUE...`: one worker process that consumes the queues named; the first sets its concurrency."""

import argparse
import sys

from codec.thread_waiting import sleep_soon
from core.broker import QUEUES
from core.errors import ServiceError
from workers.process import run_worker

parser = argparse.ArgumentParser(prog="python -m workers", description="Consume one or more job queues.")
parser.add_argument("queues", nargs="+", choices=QUEUES, metavar="QUEUE", help=" | ".join(QUEUES))
parser.add_argument("--concurrency", type=int, help="threads; default from MISC_WORKER_<QUEUE>_CONCURRENCY")
arguments = parser.parse_args()
sleep_soon()
try:
    sys.exit(run_worker(arguments.queues, arguments.concurrency))
except ServiceError as error:
    sys.exit(f"misc worker: {error}")
