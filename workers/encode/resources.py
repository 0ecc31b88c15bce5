"""What encodes of one process share: the language model with the book and the pace of all workers, slots for pictures.

Made once a process from its settings; knows nothing of jobs.
"""

from collections.abc import Callable
from dataclasses import asdict

from PIL import Image

from codec.description import Description, Item
from codec.encode.describe.lmm.batch import OpenAIBatches
from codec.encode.describe.lmm.client import OpenAIDescriber
from codec.encode.describe.lmm.ports import Answer, Usage, as_cached
from codec.encode.describe.lmm.server import AnswerForm, LMMServer
from codec.encode.describe.lmm.view import View
from codec.encode.parts import EncodeDependencies, Fallback, LMMDescriber
from codec.errors import DescriberMisconfigured
from codec.weights.store import WeightsStore
from core.database import Database
from core.describing.budget import Budget
from core.describing.cache import DescriptionCache
from core.describing.rate_limit import RedisRateLimiter
from core.logging import get_logger
from core.settings import BrokerSettings, LMMSettings, WorkerSettings
from models.base import JSONObject
from workers.encode.pack_pool import PackPool
from workers.encode.picture_semaphore import PictureSemaphore

_log = get_logger(__name__)


class EncodeResources:
    """The parts and the slots, and what has to be closed with them."""

    def __init__(
        self,
        database: Database,
        broker: BrokerSettings,
        lmm: LMMSettings,
        worker: WorkerSettings,
        weights: WeightsStore,
    ) -> None:
        self.weights = weights
        self.slots = PictureSemaphore(worker.encode_slots)
        self.coders = PackPool(self.slots.count)
        self.longest_edge_px = lmm.longest_edge_px
        self.patience = lmm.batch_patience
        self.answers = DescriptionCache(database, worker.lease)
        self.batches: OpenAIBatches | None = None
        self._pace: RedisRateLimiter | None = None
        self._client: OpenAIDescriber | None = None
        describer: LMMDescriber | None = None
        if lmm.is_configured:
            self.answers.start()
            self._pace = _pace(database, broker, lmm)
            try:
                self.batches = OpenAIBatches(server_of(lmm))
                self._client = describer = OpenAIDescriber(server_of(lmm), DescriptionBook(self.answers), self._pace)
            except DescriberMisconfigured as error:
                # Jobs that need no model go on, and the others end as configured, with this error as their note.
                _log.error("describer_misconfigured", error=str(error))
                describer = _Misconfigured(str(error))
        self.parts = EncodeDependencies(describer=describer, fallback=Fallback(lmm.fallback))

    def as_shown(self, picture: Image.Image) -> Image.Image:
        """The picture as the model gets to see it; asking with it is the same as asking with the whole picture."""
        view = View.of(picture, self.longest_edge_px)
        return Image.frombytes("RGB", (view.width, view.height), view.pixels)

    def close(self) -> None:
        """End requests that are under way, and processes; give connections back."""
        self.coders.close()
        if self._client is not None:
            self._client.close()
        if self.batches is not None:
            self.batches.close()
        if self._pace is not None:
            self._pace.close()
            self.answers.close()


class DescriptionBook:
    """The codec's AnswerBook over the book in the database."""

    def __init__(self, answers: DescriptionCache) -> None:
        self._answers = answers

    def claim(self, key: str, cancelled: Callable[[], bool]) -> Answer | None:
        """See AnswerBook."""
        content = self._answers.claim(key, cancelled)
        return None if content is None else as_cached(answer_of(content))

    def keep(self, key: str, answer: Answer) -> None:
        """See AnswerBook."""
        self._answers.keep(key, content_of(answer))

    def release(self, key: str) -> None:
        """See AnswerBook."""
        self._answers.release(key)


class _Misconfigured:
    """Stands for a model that cannot be asked with these settings."""

    def __init__(self, message: str) -> None:
        self._message = message

    def describe(self, picture: Image.Image, cancelled: Callable[[], bool]) -> Answer:
        """Raises DescriberMisconfigured."""
        raise DescriberMisconfigured(self._message)


def server_of(lmm: LMMSettings) -> LMMServer:
    """The server and model that the settings name."""
    return LMMServer(
        base_url=lmm.base_url,
        api_key=None if lmm.api_key is None else lmm.api_key.get_secret_value(),
        model=lmm.model,
        detail=lmm.detail,
        timeout_seconds=lmm.timeout.total_seconds(),
        longest_edge_px=lmm.longest_edge_px,
        answer_form=AnswerForm(lmm.answer_form),
        attempts=lmm.attempts,
        price_input=lmm.price_input,
        price_output=lmm.price_output,
        max_output_tokens=lmm.max_output_tokens,
    )


def ledger_of(database: Database, lmm: LMMSettings) -> Budget | None:
    """The ledger of the spending cap; None without a cap."""
    if lmm.spending_cap is None:
        return None
    patience_seconds = lmm.timeout.total_seconds()
    return Budget(database, lmm.spending_cap, lmm.spending_period, longest_wait_seconds=patience_seconds)


def content_of(answer: Answer) -> JSONObject:
    """An answer as it is kept."""
    description = answer.description
    items = [{"name": item.name, "detail": item.detail} for item in description.items]
    usage = asdict(answer.usage)
    del usage["cached"]
    return {"items": items, "overall": description.overall, "usage": usage}


def answer_of(content: JSONObject) -> Answer:
    """The answer that was kept."""
    items = tuple(Item(item["name"], item["detail"]) for item in content["items"])
    return Answer(Description(items, content["overall"]), Usage(**content["usage"]))


def _pace(database: Database, broker: BrokerSettings, lmm: LMMSettings) -> RedisRateLimiter:
    return RedisRateLimiter(
        broker,
        f"{lmm.base_url} {lmm.model}",
        requests_per_minute=lmm.requests_per_minute,
        tokens_per_minute=lmm.tokens_per_minute,
        ledger=ledger_of(database, lmm),
    )
