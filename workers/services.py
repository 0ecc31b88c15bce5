"""The objects that a worker process works with, opened once from its settings and handed to its parts."""

from dataclasses import dataclass, field
from typing import Self

from celery import Celery

from codec.weights.store import WeightsStore, default_folder
from core.breaker import Breaker
from core.broker import Broker
from core.database import Database
from core.events import EventLog
from core.settings import (
    BrokerSettings,
    DatabaseSettings,
    MirrorSettings,
    StorageSettings,
    WeightsSettings,
    WorkerSettings,
    load,
)
from core.storage import Storage
from core.storage.guarded import GuardedStorage
from core.storage.mirrored import Copies, open_copies
from workers.metrics import WorkerMetrics


@dataclass(frozen=True)
class WorkerServices:
    """Everything that the jobs of a process share, whatever their kind."""

    settings: WorkerSettings
    database: Database
    storage: Storage
    """Both copies as one, whose calls the breaker knows of."""
    broker: Broker
    events: EventLog
    weights: WeightsStore
    copies: Copies
    metrics: WorkerMetrics = field(default_factory=WorkerMetrics)
    storage_breaker: Breaker = field(default_factory=lambda: Breaker("storage"))

    @classmethod
    def open(cls, settings: WorkerSettings, app: Celery, broker_settings: BrokerSettings, threads: int) -> Self:
        """Open what the settings name, with database connections for so many threads."""
        events = EventLog(broker_settings)
        database_settings = load(DatabaseSettings)
        # Threads borrow a connection for single statements and short transactions, so many share few, and they may
        # borrow three times as many for a moment. Two more are for the lease keeper, the reconciler and the watchdog.
        pool_size = min(threads + 2, database_settings.pool_size)
        breaker = Breaker("storage")
        copies = open_copies(load(StorageSettings), load(MirrorSettings))
        return cls(
            settings=settings,
            database=Database(database_settings.model_copy(update={"pool_size": pool_size}), events.publish),
            copies=copies,
            storage=GuardedStorage(copies.as_one(), breaker),
            broker=Broker(broker_settings, app),
            events=events,
            weights=WeightsStore(load(WeightsSettings).path or default_folder()),
            storage_breaker=breaker,
        )
