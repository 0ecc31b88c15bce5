"""Which work a kind of job is. Heavy imports happen here, once a process, and only for the queues it consumes."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from codec.errors import CodecError
from codec.nets.loading.device_config import DeviceConfig
from codec.options import Profile
from codec.weights.store import WeightsStore, default_folder
from core.background import Periodic
from core.broker import DECODE, ENCODE, Broker
from core.database import Database
from core.logging import get_logger
from core.settings import (
    BrokerSettings,
    LMMSettings,
    NetworkSettings,
    WeightsSettings,
    WorkerSettings,
)
from core.storage import Storage
from models.job import JobKind
from workers.context import Record, Work, WorkContext

if TYPE_CHECKING:
    from codec.decode.restorers import Restorers
    from core.describing.dispatcher import BatchDispatcher
    from workers.encode.resources import EncodeResources

_log = get_logger(__name__)

_MAX_LINE_BYTES = 16 * 1024 * 1024
"""A picture of 4096 px as JPEG in base64, as it is sent to a language model, has less."""

_LOOKS = 4
"""How often unused networks are looked for in the time after which they are let go."""


class Handlers:
    """The work of every kind, made when it is first needed; one for a process, called from many threads."""

    def __init__(
        self,
        database: Database,
        storage: Storage,
        broker: Broker,
        broker_settings: BrokerSettings,
        lmm: LMMSettings,
        worker: WorkerSettings,
        weights: WeightsSettings,
        network: NetworkSettings,
        profile: Profile,
    ) -> None:
        """`profile` is that of requests which name none."""
        self._database, self._storage, self._broker = database, storage, broker
        self._broker_settings, self._lmm, self._worker = broker_settings, lmm, worker
        self._weights = WeightsStore(weights.path or default_folder())
        self._network, self._profile = network, profile
        self._restorers: Restorers | None = None
        self._idle: Periodic | None = None
        self._shop: EncodeResources | None = None
        self._dispatcher: BatchDispatcher | None = None
        self._work: dict[JobKind, Work] = {JobKind.PROBE: _probe}
        self._lock = threading.Lock()
        self._is_warm = threading.Event()
        self._is_warm.set()

    def warm_up(self, queues: Sequence[str]) -> None:
        """Import and load what the queues need, so that the first job finds a warm process."""
        loads: dict[str, Callable[[], object]] = {}
        if ENCODE in queues:
            self.work_for(JobKind.ENCODE)
            loads["tagger"] = self._warm_up_tagger
        if DECODE in queues:
            self.work_for(JobKind.DECODE)
            loads[self._profile.value] = self._warm_up_restorer
        if loads:
            self._warm_up_in_time(loads, is_large=DECODE in queues and self._profile is not Profile.LITE)
        if idle_seconds := self._network.idle.total_seconds():
            self._idle = Periodic("idle-networks", idle_seconds / _LOOKS, self._release_idle)
            self._idle.start()

    def work_for(self, kind: JobKind) -> Work:
        """The function that does this kind of job."""
        with self._lock:
            if kind not in self._work:
                self._work[kind] = self._make(kind)
            return self._work[kind]

    def close(self) -> None:
        """Give back what the work holds."""
        if self._idle is not None:
            self._idle.close()
        if self._dispatcher is not None:
            self._dispatcher.close()
        if self._shop is not None:
            self._shop.close()

    def _make(self, kind: JobKind) -> Work:
        if kind is JobKind.DECODE:
            from codec.decode.restorers import Restorers
            from workers.decode.handler import Decoder

            device_config = DeviceConfig(self._network.device, self._network.dtype, self._network.compile)
            self._restorers = Restorers(self._weights, device_config)
            preview_seconds = self._worker.preview_interval.total_seconds()
            return self._when_warm(Decoder(self._weights, self._restorers, preview_seconds).decode_image)
        from workers.encode.handler import Encoder
        from workers.encode.resources import EncodeResources

        self._shop = EncodeResources(self._database, self._broker_settings, self._lmm, self._worker, self._weights)
        self._dispatcher = self._dispatch_batches(self._shop)
        return self._when_warm(Encoder(self._shop).encode_image)

    def _warm_up_tagger(self) -> None:
        from codec.nets.tagger.load import warm_up

        warm_up(self._weights)

    def _warm_up_restorer(self) -> None:
        assert self._restorers is not None
        self._restorers.warm_up(self._profile)

    def _warm_up_in_time(self, loads: Mapping[str, Callable[[], object]], *, is_large: bool) -> None:
        """Large networks before the process consumes, as a job had better wait for a process that has them; small ones
        beside it, as their seconds pass while the first picture is still being sent."""
        self._is_warm.clear()
        if is_large:
            self._load(loads)
            return
        threading.Thread(target=self._load, args=(loads,), name="warm-up", daemon=True).start()

    def _load(self, loads: Mapping[str, Callable[[], object]]) -> None:
        try:
            for networks, load in loads.items():
                started = time.monotonic()
                try:
                    load()
                    _log.info("warmed_up", networks=networks, seconds=round(time.monotonic() - started, 1))
                except CodecError as error:
                    # Jobs that need no networks go on, and the others end with this error as theirs.
                    _log.error("networks_not_loaded", networks=networks, code=error.code, error=str(error))
                except Exception:  # noqa: BLE001 - the first job that needs them meets it again, and tells its owner
                    _log.exception("networks_not_loaded", networks=networks)
        finally:
            self._is_warm.set()

    def _when_warm(self, work: Work) -> Work:
        """The same work, begun once the warm-up is over: two threads that import PyTorch's and diffusers' modules at
        once may each find the other's half done."""

        def _work(context: WorkContext) -> Record | None:
            self._is_warm.wait()
            return work(context)

        return _work

    def _release_idle(self) -> None:
        from codec.encode.locate import load as locators
        from codec.nets.compression import load as coarse_codecs
        from codec.nets.tagger import load as taggers

        seconds = self._network.idle.total_seconds()
        released = coarse_codecs.release_idle(seconds) + locators.release_idle(seconds)
        released += taggers.release_idle(seconds)
        if self._restorers is not None:
            released += self._restorers.release_idle(seconds)
        if released:
            _log.info("idle_networks_released", count=released)

    def _dispatch_batches(self, shop: "EncodeResources") -> "BatchDispatcher | None":
        """Have the Batch API looked after by the processes that may reach the model; None without one."""
        from core.describing.dispatcher import BatchDispatcher

        if shop.batches is None:
            return None
        storage = self._storage
        dispatcher = BatchDispatcher(
            self._database,
            shop.batches,
            shop.cache,
            shop.budget,
            self._lmm,
            lambda item: storage.get(item.object_key, max_bytes=_MAX_LINE_BYTES),
            lease=self._worker.lease,
        )
        dispatcher.start(self._broker)
        return dispatcher


def _probe(_context: WorkContext) -> None:
    """Nothing."""
