"""Encode jobs done in this process, against a played model, on both databases and a real Redis."""

import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from codec.options import EncodeOptions, Profile, parse_options
from codec.weights.store import WeightsStore
from core.archive import images, object_lifecycle
from core.archive.images import NewImage
from core.archive.object_lifecycle import NewObject
from core.broker import ENCODE, Broker
from core.database import Database
from core.events import EventLog
from core.jobs import queries
from core.jobs.job import JobSpec
from core.jobs.lease import LeaseKeeper
from core.owners.view import EVERYTHING
from core.settings import BrokerSettings, LMMSettings, NetworkSettings, WorkerSettings
from core.storage.keys import original_key
from core.storage.local import LocalStorage
from core.storage.mirrored import Copies
from models import Image, Job, JobKind
from models.base import new_id
from models.owner import DEFAULT_OWNER
from tests.claims import bring_forward
from tests.lmm_server.server import LMMTestServer
from workers.handlers import Handlers
from workers.runner import Runner
from workers.services import WorkerServices

one_database = pytest.mark.parametrize("database_settings", ["sqlite"], indirect=True)
"""For tests of what no database has a part in."""


def picture(seed: int, width: int = 64, height: int = 48) -> bytes:
    """A small picture that no other seed gives, as PNG."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Pillow.fromarray(noise).resize((width, height), Pillow.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


class Desk:
    """Takes pictures in as the API does, and does their jobs as a worker process does."""

    def __init__(self, database: Database, broker: BrokerSettings, folder: Path, lmm: dict[str, Any]) -> None:
        self.database, self.storage = database, LocalStorage(folder)
        settings = WorkerSettings(encode_slots=1)
        self._keeper = LeaseKeeper(database, settings.lease)
        self._events = EventLog(broker)
        self._broker = Broker(broker)
        weights = WeightsStore(folder / "no-weights")
        services = WorkerServices(
            settings, database, self.storage, self._broker, self._events, weights, Copies(self.storage)
        )
        self.handlers = Handlers(services, broker, LMMSettings(**lmm), NetworkSettings(), Profile.LITE)
        self._runner = Runner("test", self.handlers, services, self._keeper)
        self._keeper.start()

    def submit(self, data: bytes, owner: str = DEFAULT_OWNER, **options: Any) -> str:
        """Hand a picture in; returns the id of its job."""
        image_id, sha256 = new_id("img"), hashlib.sha256(data).hexdigest()
        original = NewObject(original_key(image_id, "png"), sha256, len(data))
        object_lifecycle.store(self.database, self.storage, original, data)
        with Pillow.open(io.BytesIO(data)) as opened:
            width, height = opened.size
        chosen = {"describe": "openai", "mode": "pixel", "maps": False, "blocks": 4} | options
        new = NewImage(
            id=image_id,
            name=f"{image_id}.png",
            width=width,
            height=height,
            media_type="image/png",
            original=original,
            options=parse_options(EncodeOptions, chosen),
        )
        with self.database.write() as session:
            _, job_id = images.submit(session, new, JobSpec(JobKind.ENCODE, ENCODE, owner=owner))
        return job_id

    def run(self, job_id: str) -> tuple[Job, Image]:
        """One attempt of the job; returns it and its image as they are afterwards."""
        self._runner.run(bring_forward(self.database, job_id))
        return self.look(job_id)

    def look(self, job_id: str) -> tuple[Job, Image]:
        """The job and its image."""
        with self.database.read() as session:
            job = queries.get(session, job_id)
            assert job.image_id is not None
            return job, images.get(session, job.image_id, EVERYTHING)

    def close(self) -> None:
        """Give everything back."""
        for part in (self.handlers, self._keeper, self._events, self._broker):
            part.close()


OpenDesk = Callable[..., Desk]


@pytest.fixture
def lmm_server() -> Iterator[LMMTestServer]:
    """A server that plays a model."""
    with LMMTestServer() as server:
        yield server


@pytest.fixture
def open_desk(
    database: Database, broker_settings: BrokerSettings, tmp_path: Path, lmm_server: LMMTestServer
) -> Iterator[OpenDesk]:
    """Opens a desk with settings of the language model beside the server's address."""
    desks: list[Desk] = []

    def _open(**lmm: Any) -> Desk:
        lmm = {"base_url": lmm_server.base_url, "model": "played", "attempts": 2} | lmm
        desks.append(Desk(database, broker_settings, tmp_path / "objects", lmm))
        return desks[-1]

    yield _open
    for desk in desks:
        desk.close()
