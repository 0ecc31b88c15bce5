"""The objects that requests work with, made once by the process and handed to every endpoint."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Self

from anyio import CapacityLimiter
from fastapi import Depends, Request

from api.images.view_cache import ViewCache
from api.threads import StorageThreads
from api.turns import UploadTurns
from codec.decode_price import DecodeLimits
from codec.options import Profile
from core.broker import Broker
from core.database import Database
from core.events import EventLog, EventReader
from core.idempotency import KeyKeeper
from core.jobs.backpressure import QueueLimit
from core.jobs.job import JobSpec
from core.jobs.outbox import OutboxSender
from core.logging import get_logger
from core.owners.caller import Caller
from core.owners.key_book import KeyBook
from core.picture_reader import ChildPictureReader, DirectPictureReader, PictureReader
from core.settings import (
    APISettings,
    BrokerSettings,
    DatabaseSettings,
    MirrorSettings,
    StorageSettings,
    WebhookSettings,
    WorkerSettings,
)
from core.storage import Storage
from core.storage.mirrored import open_copies
from core.temp_files import UPLOADS, remove_stale_temp_files
from core.tracing import trace_parent
from models.job import JobKind, JobPriority

_log = get_logger(__name__)

_PICTURES_AT_ONCE = 2
"""A picture that is checked may take 300 MB as RGB; more of them at once could take the whole machine's memory."""


@dataclass(frozen=True)
class Services:
    """Everything an endpoint may need.

    `max_attempts` is how often a job is tried before it fails for good; `profile` serves requests that name none.
    """

    settings: APISettings
    database: Database
    storage: Storage
    broker: Broker
    outbox_sender: OutboxSender
    events: EventLog
    event_reader: EventReader
    key_keeper: KeyKeeper
    api_keys: KeyBook
    queue_limit: QueueLimit
    upload_turns: UploadTurns
    decode_limits: DecodeLimits
    max_attempts: int = 3
    profile: Profile = Profile.LITE
    webhook_settings: WebhookSettings = field(default_factory=WebhookSettings)
    is_stopping: Callable[[], bool] = lambda: False
    pictures: PictureReader = field(default_factory=DirectPictureReader)
    storage_threads: StorageThreads = field(default_factory=StorageThreads)
    views: ViewCache = field(default_factory=ViewCache)
    picture_slots: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(_PICTURES_AT_ONCE))

    @classmethod
    def open(
        cls,
        settings: APISettings,
        database: DatabaseSettings,
        broker_settings: BrokerSettings,
        storage: StorageSettings,
        worker: WorkerSettings,
        profile: Profile = Profile.LITE,
        is_stopping: Callable[[], bool] = lambda: False,
        mirror: MirrorSettings | None = None,
    ) -> Self:
        """Open everything that the settings name; raises ServiceError when the storage folder cannot be used."""
        events = EventLog(broker_settings)
        opened = Database(database, events.publish)
        broker = Broker(broker_settings)
        return cls(
            settings=settings,
            database=opened,
            storage=open_copies(storage, mirror or MirrorSettings()).as_one(),
            broker=broker,
            outbox_sender=OutboxSender(opened, broker),
            events=events,
            event_reader=EventReader(broker_settings),
            key_keeper=KeyKeeper(opened),
            api_keys=KeyBook(opened),
            queue_limit=QueueLimit(opened, settings.max_open_jobs),
            upload_turns=UploadTurns(settings.upload_wait),
            decode_limits=worker.decode_limits,
            max_attempts=worker.max_attempts,
            profile=profile,
            is_stopping=is_stopping,
            pictures=ChildPictureReader(_PICTURES_AT_ONCE),
        )

    @property
    def default_options(self) -> dict[str, object]:
        """What holds where a request does not say it."""
        return {"profile": self.profile}

    def job(
        self,
        request: Request,
        kind: JobKind,
        queue: str,
        priority: JobPriority = JobPriority.INTERACTIVE,
        deadline: datetime | None = None,
    ) -> JobSpec:
        """A job that this request orders."""
        caller: Caller = request.scope["misc.caller"]
        request_id = request.scope.get("misc.request_id")
        return JobSpec(
            kind,
            queue,
            owner=caller.owner,
            request_id=request_id,
            max_attempts=self.max_attempts,
            priority=priority,
            deadline=deadline,
            trace_parent=trace_parent(),
        )

    def start(self) -> None:
        """Clear away what a killed process left of its uploads, and start the threads."""
        if removed := remove_stale_temp_files(UPLOADS):
            _log.info("uploads_left_behind_removed", folders=removed)
        self.outbox_sender.start()
        self.key_keeper.start()

    async def close(self) -> None:
        """Send the last notifications, free the keys of requests that were cut off, give every connection back."""
        self.outbox_sender.close()
        self.key_keeper.close()
        await self.event_reader.close()
        self.events.close()
        self.broker.close()
        self.pictures.close()
        self.storage.close()
        self.database.close()


async def _services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDependency = Annotated[Services, Depends(_services_of)]
"""The type by which an endpoint asks for the services."""
