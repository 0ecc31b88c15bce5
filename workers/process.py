"""One worker process: wires settings and services, consumes its queues in threads, ends without losing a job.

Threads and not child processes, because neither CUDA nor database connections survive a fork; what threads cannot
do (be killed, be timed out) is done by leases and by the flag that every job looks at between its steps.
"""

import os
import socket
import threading
import warnings
from contextlib import ExitStack, suppress
from datetime import timedelta

from celery import Celery, Task, signals
from celery.apps.worker import Worker
from celery.platforms import SecurityWarning

from core.archive.packs.packer import Packer
from core.archive.records.writer import RecordWriter
from core.archive.retention import Retention
from core.archive.scrubber import Scrubber
from core.broker import DECODE, ENCODE, MAINTENANCE, RUN_TASK, make_celery
from core.database import Database
from core.errors import DatabaseUnavailable
from core.jobs.lease import LeaseKeeper
from core.jobs.reconciler import Reconciler
from core.jobs.workers import NewWorker
from core.logging import get_logger
from core.settings import (
    BrokerSettings,
    FixitySettings,
    LMMSettings,
    NetworkSettings,
    PackSettings,
    ProfileSettings,
    RetentionSettings,
    StorageSettings,
    TempSettings,
    TracingSettings,
    WebhookSettings,
    WorkerSettings,
    load,
)
from core.temp_files import FETCHED, remove_stale_temp_files, use_temp_folder
from core.tracing import close_tracing, configure_tracing
from core.version import service_version
from core.waiting import awaited
from core.webhooks.sender import WebhookSender
from models.base import new_id
from workers.closure_watch import ClosureWatch
from workers.handlers import Handlers
from workers.heartbeat import Heartbeat
from workers.niceness import stand_back
from workers.runner import Runner
from workers.services import WorkerServices
from workers.stall_watchdog import StallWatchdog

_log = get_logger(__name__)

EXIT_RESTART = 75
"""The process asks its supervisor for a fresh one (EX_TEMPFAIL)."""


def run_worker(queues: list[str], concurrency: int | None = None) -> int:
    """Consume the queues until a signal says stop; returns the exit status."""
    settings = load(WorkerSettings)
    broker_settings = load(BrokerSettings)
    configure_tracing(load(TracingSettings), f"worker-{queues[0]}")
    use_temp_folder(load(TempSettings))
    stand_back(settings.niceness)
    # A receiver of this signal keeps Celery from setting up logging its own way.
    signals.setup_logging.connect(lambda **_: None, weak=False)
    # Messages carry an id as JSON and are never unpickled, which is what Celery warns of; containers run as root.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    app = make_celery(broker_settings)
    threads = concurrency or _concurrency(settings, queues[0])
    with awaited("its storage"):
        services = WorkerServices.open(settings, app, broker_settings, threads)
    with awaited("the database"):
        _check_schema(services.database)
    keeper = LeaseKeeper(services.database, settings.lease)
    reconciler = Reconciler(services.database, services.broker, services.storage, settings)
    retention = Retention(services.database, services.broker, load(RetentionSettings))
    sender = WebhookSender(services.database, load(WebhookSettings))
    records = RecordWriter(services.database, services.broker, services.storage)
    scrubber = Scrubber(
        services.database, services.broker, services.copies, load(FixitySettings), services.metrics.count_verification
    )
    packer = Packer(
        services.database, services.broker, services.copies, load(PackSettings), load(StorageSettings).backend
    )
    closure = ClosureWatch(
        services.database,
        services.broker,
        services.storage,
        services.weights,
        services.metrics.note_missing_networks,
    )
    handlers = Handlers(
        services, broker_settings, load(LMMSettings), load(NetworkSettings), load(ProfileSettings).profile
    )
    name = f"{queues[0]}@{socket.gethostname()}:{os.getpid()}"[:48]
    runner = Runner(name, handlers, services, keeper)
    watchdog = StallWatchdog(services.broker, keeper, runner, queues, settings.stuck_after)

    if removed := remove_stale_temp_files(FETCHED):
        _log.info("stale_files_removed", files=removed)
    _register_task(app, runner)
    _end_without_loss(runner, keeper, settings.soft_shutdown)
    services.metrics.serve(settings, lambda: keeper.running)
    with awaited("its networks"):
        handlers.warm_up(queues)
        handlers.note_networks()
    for part in (keeper, reconciler, retention, records, watchdog):
        part.start()
    if DECODE in queues:
        closure.start()
    if MAINTENANCE in queues:
        sender.start()
        scrubber.start()
        packer.start()

    worker_id = new_id("wrk")
    worker: Worker = app.Worker(
        hostname=f"{queues[0]}-{worker_id}@{socket.gethostname()}",
        queues=queues,
        pool="threads",
        concurrency=threads,
        loglevel="WARNING",
        without_gossip=True,
        without_mingle=True,
        # Those who watch events learn by a worker's heartbeat that it is there.
        without_heartbeat=not broker_settings.task_events,
        quiet=True,
    )
    signals.worker_ready.connect(lambda **_: _log.info("worker_ready", queues=queues, threads=threads), weak=False)
    heartbeat = Heartbeat(
        services.database,
        NewWorker(worker_id, name, queues, threads, service_version()),
        lambda: keeper.running,
        lambda is_wanted: _drain(worker, runner, queues, is_wanted),
    )
    signals.worker_ready.connect(lambda **_: heartbeat.start(), weak=False)
    with ExitStack() as broker:
        broker.enter_context(awaited("the broker"))
        signals.worker_ready.connect(lambda **_: broker.close(), weak=False)
        worker.start()
    _log.info("worker_stopped", restart=watchdog.wants_restart)
    passes = (heartbeat, watchdog, sender, closure, packer, scrubber, records, retention, reconciler)
    for open_part in (*passes, handlers, keeper, services.events):
        open_part.close()
    close_tracing()
    return EXIT_RESTART if watchdog.wants_restart else worker.exitcode or 0


def _check_schema(database: Database) -> None:
    """Raise DatabaseNotMigrated or DatabaseNewer: every job would fail on the tables of another version. Jobs wait for
    a database that is only away."""
    with suppress(DatabaseUnavailable):
        database.check_migrated()


def _concurrency(settings: WorkerSettings, queue: str) -> int:
    return {
        ENCODE: settings.encode_concurrency,
        DECODE: settings.decode_concurrency,
        MAINTENANCE: settings.maintenance_concurrency,
    }[queue]


def _register_task(app: Celery, runner: Runner) -> None:
    def run(message: Task, _job_id: str) -> None:
        runner.run(message.request.delivery_info["routing_key"])

    app.task(name=RUN_TASK, bind=True)(run)


def _drain(worker: Worker, runner: Runner, queues: list[str], is_wanted: bool) -> None:
    """Have the process consume nothing, or its queues again. Its jobs go on, and what Celery has fetched already is
    left to other workers."""
    runner.is_draining = is_wanted
    consumer = worker.consumer
    for queue in queues:
        # Celery's own thread has to do it.
        consumer.call_soon(consumer.cancel_task_queue if is_wanted else consumer.add_task_queue, queue)


def _end_without_loss(runner: Runner, keeper: LeaseKeeper, patience: timedelta) -> None:
    """When the process is to stop, give running jobs their time, then hand them to another process."""

    def _on_stop(**_: object) -> None:
        runner.stop()

        def _hand_over() -> None:
            if not keeper.wait_until_idle(patience):
                keeper.hand_over()

        threading.Thread(target=_hand_over, name="hand-over", daemon=True).start()

    signals.worker_shutting_down.connect(_on_stop, weak=False)
