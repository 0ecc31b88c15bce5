"""The table of handlers: which code does which kind of job. Heavy imports happen here, once a process, and only for
the queues that it consumes."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from codec.errors import CodecError
from codec.nets.loading.device_config import DeviceConfig
from codec.options import DecodeOptions, Profile, RestorerName
from core.archive import network_sets
from core.background import Periodic
from core.broker import DECODE, ENCODE
from core.errors import KindUnknown, ServiceError
from core.logging import get_logger
from core.settings import BrokerSettings, LMMSettings, MarkSettings, NetworkSettings, load
from models.job import JobKind
from workers.context import Handler, Record, WorkContext
from workers.services import WorkerServices
from workers.warm_up import WarmUp

if TYPE_CHECKING:
    from codec.decode.engine.engine import Engine
    from codec.decode.restorers import Restorers
    from core.describing.dispatcher import BatchDispatcher
    from workers.encode.resources import EncodeResources

_log = get_logger(__name__)

_NOTE_SECONDS = 60.0
"""How late an order may learn of networks that were installed while the worker ran."""

_MAX_LINE_BYTES = 16 * 1024 * 1024
"""A picture of 4096 px as JPEG in base64, as it is sent to a language model, has less."""

_EVICTION_CHECKS = 4
"""How often unused networks are looked for in the time after which they are evicted."""


class Handlers:
    """The handler of every kind, made when it is first needed; one table for a process, called from many threads."""

    def __init__(
        self,
        services: WorkerServices,
        broker: BrokerSettings,
        lmm: LMMSettings,
        network: NetworkSettings,
        profile: Profile,
    ) -> None:
        """`profile` is that of requests which name none."""
        self._services, self._broker, self._lmm = services, broker, lmm
        self._network, self._profile = network, profile
        self._factories: dict[str, Callable[[], Handler]] = {
            JobKind.ENCODE: self._make_encode_handler,
            JobKind.DECODE: self._make_decode_handler,
            JobKind.PROBE: lambda: _do_nothing,
        }
        self._handlers: dict[str, Handler] = {}
        self._lock = threading.Lock()
        self._restorers: Restorers | None = None
        self._engine: Engine | None = None
        self._warm_up = WarmUp()
        self._resources: EncodeResources | None = None
        self._dispatcher: BatchDispatcher | None = None
        self._eviction: Periodic | None = None
        self._notes: Periodic | None = None

    def of(self, kind: str) -> Handler:
        """The handler of this kind; raises KindUnknown."""
        if kind not in self._factories:
            raise KindUnknown(f"No handler of this version does jobs of the kind {kind!r}; upgrade the workers.")
        with self._lock:
            if kind not in self._handlers:
                self._handlers[kind] = self._factories[kind]()
            return self._handlers[kind]

    def warm_up(self, queues: Sequence[str]) -> None:
        """Import and load what the queues need, so that the first job finds a warm process."""
        loads: dict[str, Callable[[], object]] = {}
        if ENCODE in queues:
            self.of(JobKind.ENCODE)
            loads["tagger"] = self._warm_up_tagger
        if DECODE in queues:
            self.of(JobKind.DECODE)
            loads[self._profile.value] = self._warm_up_restorer
        if loads:
            # Who waits for a picture had better find a worker that has its networks: ready means warm.
            is_first = DECODE in queues and self._services.settings.warm_up == "first"
            self._warm_up.start(loads, in_background=not is_first)
        if idle_seconds := self._network.idle.total_seconds():
            self._eviction = Periodic("idle-networks", idle_seconds / _EVICTION_CHECKS, self._evict_idle)
            self._eviction.start()

    def note_networks(self) -> None:
        """Keep the archive told of the networks that restore here, where decodes are done."""
        if self._restorers is not None:
            self._note_networks()
            self._notes = Periodic("network-sets", _NOTE_SECONDS, self._note_networks)
            self._notes.start()

    def close(self) -> None:
        """Give back what the handlers hold."""
        for part in (self._notes, self._eviction, self._dispatcher, self._resources, self._engine):
            if part is not None:
                part.close()

    def _make_decode_handler(self) -> Handler:
        from codec.decode.engine.engine import Engine
        from workers.decode.handler import DecodeHandler

        restorers = self._make_restorers()
        self._engine = Engine(on_step=self._services.metrics.count_step)
        self._engine.start()
        settings = self._services.settings
        preview_seconds = settings.preview_interval.total_seconds()
        return self._after_warm_up(
            DecodeHandler(
                self._services.weights,
                restorers,
                self._engine,
                preview_seconds,
                settings.decode_limits,
                load(MarkSettings).signer(),
            )
        )

    def _make_encode_handler(self) -> Handler:
        from workers.encode.handler import EncodeHandler
        from workers.encode.resources import EncodeResources

        services = self._services
        self._resources = EncodeResources(
            services.database, self._broker, self._lmm, services.settings, services.weights, self._make_restorers
        )
        self._dispatcher = self._start_dispatcher(self._resources)
        return self._after_warm_up(EncodeHandler(self._resources))

    def _make_restorers(self) -> "Restorers":
        """Those of this process, whichever kinds of jobs restore by them."""
        from codec.decode.restorers import Restorers

        if self._restorers is None:
            network = self._network
            device_config = DeviceConfig(network.device, network.dtype, network.compile, network.graphs)
            self._restorers = Restorers(self._services.weights, device_config)
        return self._restorers

    def _after_warm_up(self, handler: Handler) -> Handler:
        """The same handler, which begins once the warm-up is over: two threads that import PyTorch's and diffusers'
        modules at once may each find the other's half done."""

        def _handle(context: WorkContext) -> Record | None:
            self._warm_up.wait()
            return handler(context)

        return _handle

    def _warm_up_tagger(self) -> None:
        from codec.nets.tagger.load import warm_up

        warm_up(self._services.weights)

    def _warm_up_restorer(self) -> None:
        assert self._restorers is not None
        self._restorers.warm_up(self._profile)

    def _note_networks(self) -> None:
        """Tell the archive which networks restore here now, so that an order does not get what former ones made."""
        assert self._restorers is not None
        current: dict[str, Mapping[str, str]] = {}
        for profile, restorer in ((profile, restorer) for profile in Profile for restorer in RestorerName):
            options = DecodeOptions(profile=profile, restorer=restorer)
            with suppress(CodecError):  # of what is not installed here another worker knows
                if weights := self._restorers.weights_of(options):
                    current[network_sets.name_of(options)] = weights
        try:
            with self._services.database.write() as session:
                changed = [name for name, weights in current.items() if network_sets.note(session, name, weights)]
        except ServiceError as error:
            _log.warning("networks_not_noted", error=str(error))
            return
        if changed:
            _log.info("networks_noted", names=changed)

    def _evict_idle(self) -> None:
        from codec.encode.locate import load as locators
        from codec.nets.compression import load as coarse_codecs
        from codec.nets.tagger import load as taggers

        seconds = self._network.idle.total_seconds()
        evicted = coarse_codecs.release_idle(seconds) + locators.release_idle(seconds)
        evicted += taggers.release_idle(seconds)
        if self._restorers is not None:
            evicted += self._restorers.release_idle(seconds)
        if evicted:
            _log.info("idle_networks_evicted", count=evicted)

    def _start_dispatcher(self, resources: "EncodeResources") -> "BatchDispatcher | None":
        """Have the Batch API looked after by the processes that may reach the model; None without one."""
        from core.describing.dispatcher import BatchDispatcher

        if resources.batches is None:
            return None
        services = self._services
        dispatcher = BatchDispatcher(
            services.database,
            resources.batches,
            resources.cache,
            resources.budget,
            self._lmm,
            lambda item: services.storage.get(item.object_key, max_bytes=_MAX_LINE_BYTES),
            lease=services.settings.lease,
        )
        dispatcher.start(services.broker)
        return dispatcher


def _do_nothing(_context: WorkContext) -> None:
    """The work of a probe."""
