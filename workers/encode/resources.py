"""What encodes of one process share: the language model with the cache and the rate limit of all workers, and slots.

Made once a process from its settings; knows nothing of jobs.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from PIL import Image

from codec.encode.dependencies import EncodeDependencies, Fallback, LMMDescriber
from codec.encode.describe.lmm.batch import OpenAIBatches
from codec.encode.describe.lmm.client import OpenAIDescriber
from codec.encode.describe.lmm.view import View
from codec.errors import DescriberMisconfigured
from codec.language_model import Answer
from codec.weights.store import WeightsStore
from core.database import Database
from core.describing.budget import Budget
from core.describing.cache import DescriptionCache
from core.describing.purse import OwnerLimiter, Purse, salt_of
from core.describing.rate_limit import RedisRateLimiter
from core.logging import get_logger
from core.picture_reader import ChildPictureReader
from core.settings import BrokerSettings, LMMSettings, WorkerSettings
from workers.encode.pack_pool import PackPool
from workers.encode.picture_semaphore import PictureSemaphore

if TYPE_CHECKING:
    from codec.decode.restorers import Restorers
    from codec.metrics.ingest import QualityMeter

_log = get_logger(__name__)


class EncodeResources:
    """What an encode may use beyond its picture, and what has to be closed with it."""

    def __init__(
        self,
        database: Database,
        broker: BrokerSettings,
        lmm: LMMSettings,
        worker: WorkerSettings,
        weights: WeightsStore,
        restorers: "Callable[[], Restorers]",
    ) -> None:
        """`restorers` gives those of the process, for pictures that are decoded at once."""
        self.weights = weights
        self.decode_limits = worker.decode_limits
        self._restorers = restorers
        self.slots = PictureSemaphore(worker.encode_slots)
        self.coders = PackPool(self.slots.count)
        self.pictures = ChildPictureReader(self.slots.count)
        self.longest_edge_px = lmm.longest_edge_px
        self.patience = lmm.batch_patience
        self.cache = DescriptionCache(database, worker.lease)
        self.budget = Budget.from_settings(database, lmm)
        self.batches: OpenAIBatches | None = None
        self._limiter: RedisRateLimiter | None = None
        self._client: OpenAIDescriber | None = None
        describer: LMMDescriber | None = None
        if lmm.is_configured:
            self.cache.start()
            self._limiter = RedisRateLimiter(
                broker,
                f"{lmm.base_url} {lmm.model}",
                requests_per_minute=lmm.requests_per_minute,
                tokens_per_minute=lmm.tokens_per_minute,
                budget=self.budget,
            )
            try:
                self.batches = OpenAIBatches(lmm.server)
                self._client = describer = OpenAIDescriber(lmm.server, self.cache, self._limiter)
            except DescriberMisconfigured as error:
                # Jobs that need no model go on, and the others end as configured, with this error as their note.
                _log.error("describer_misconfigured", error=str(error))
                describer = _Misconfigured(str(error))
        self._database = database
        self.dependencies = EncodeDependencies(describer=describer, fallback=Fallback(lmm.fallback))

    def dependencies_of(self, owner: str) -> EncodeDependencies:
        """The dependencies for an owner's picture: the model is paid from its money of the day, and what it said of
        the same picture of another owner is not known."""
        if self._client is None or self._limiter is None:
            return self.dependencies
        limiter = OwnerLimiter(self._limiter, self.purse_of(owner))
        return replace(self.dependencies, describer=self._client.apart(salt_of(owner), limiter))

    def purse_of(self, owner: str) -> Purse:
        """The owner's money of the day."""
        return Purse(self._database, owner)

    @cached_property
    def meter(self) -> "QualityMeter":
        """What decodes and measures; raises FeatureUnavailable where there are no libraries for networks."""
        from codec.metrics.ingest import QualityMeter
        from codec.nets.compression.load import find_in

        return QualityMeter(self._restorers(), find_in(self.weights))

    def model_view(self, picture: Image.Image) -> Image.Image:
        """The picture as the model gets to see it; describing it is the same as describing the whole picture."""
        return View.of(picture, self.longest_edge_px).picture

    def close(self) -> None:
        """End requests that are under way, and processes; give connections back."""
        self.coders.close()
        self.pictures.close()
        if self._client is not None:
            self._client.close()
        if self.batches is not None:
            self.batches.close()
        if self._limiter is not None:
            self._limiter.close()
            self.cache.close()


class _Misconfigured:
    """Stands for a model that cannot be asked with these settings."""

    def __init__(self, message: str) -> None:
        self._message = message

    def describe(self, picture: Image.Image, cancelled: Callable[[], bool]) -> Answer:
        """Raises DescriberMisconfigured."""
        raise DescriberMisconfigured(self._message)
