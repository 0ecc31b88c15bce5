"""Which work a kind of job is. Heavy imports happen here, once a process, and only for the queues it consumes."""

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from codec.weights.store import WeightsStore, default_folder
from core.database import Database
from core.queue import DECODE, ENCODE
from core.settings import BrokerSettings, LMMSettings, WeightsSettings, WorkerSettings
from models.job import JobKind
from workers.context import Work, WorkContext

if TYPE_CHECKING:
    from workers.encode.parts import EncodeShop


class Workbench:
    """The work of every kind, made when it is first needed; one for a process, called from many threads."""

    def __init__(
        self,
        database: Database,
        broker: BrokerSettings,
        lmm: LMMSettings,
        worker: WorkerSettings,
        weights: WeightsSettings,
    ) -> None:
        self._database, self._broker, self._lmm, self._worker = database, broker, lmm, worker
        self._weights = WeightsStore(weights.path or default_folder())
        self._shop: EncodeShop | None = None
        self._work: dict[JobKind, Work] = {JobKind.PROBE: _probe}
        self._lock = threading.Lock()

    def warm_up(self, queues: Sequence[str]) -> None:
        """Import and load what the queues need, so that the first job finds a warm process."""
        if ENCODE in queues:
            self.work_for(JobKind.ENCODE)
        if DECODE in queues:
            self.work_for(JobKind.DECODE)

    def work_for(self, kind: JobKind) -> Work:
        """The function that does this kind of job."""
        with self._lock:
            if kind not in self._work:
                self._work[kind] = self._make(kind)
            return self._work[kind]

    def close(self) -> None:
        """Give back what the work holds."""
        if self._shop is not None:
            self._shop.close()

    def _make(self, kind: JobKind) -> Work:
        if kind is JobKind.DECODE:
            from workers.decode.work import Decoder

            return Decoder(self._weights).decode_image
        from workers.encode.parts import EncodeShop
        from workers.encode.work import Encoder

        self._shop = EncodeShop(self._database, self._broker, self._lmm, self._worker, self._weights)
        return Encoder(self._shop).encode_image


def _probe(_context: WorkContext) -> None:
    """Nothing."""
