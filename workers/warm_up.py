"""Loads networks before the first job asks for them."""

import threading
import time
from collections.abc import Callable, Mapping

from codec.errors import CodecError
from core.logging import get_logger

_log = get_logger(__name__)


class WarmUp:
    """The warm-up of one process. Jobs go on when it fails: some need no networks, others end with its error."""

    def __init__(self) -> None:
        self._is_over = threading.Event()
        self._is_over.set()

    def start(self, loads: Mapping[str, Callable[[], object]], *, in_background: bool) -> None:
        """Call each load, by the name of its networks, in a thread or before returning."""
        self._is_over.clear()
        _log.info("warming_up", networks=list(loads), in_background=in_background)
        if in_background:
            threading.Thread(target=self._load_all, args=(loads,), name="warm-up", daemon=True).start()
        else:
            self._load_all(loads)

    def wait(self) -> None:
        """Return once no warm-up is under way."""
        self._is_over.wait()

    def _load_all(self, loads: Mapping[str, Callable[[], object]]) -> None:
        try:
            for networks, load in loads.items():
                _load(networks, load)
        finally:
            self._is_over.set()


def _load(networks: str, load: Callable[[], object]) -> None:
    started = time.monotonic()
    try:
        load()
        _log.info("warmed_up", networks=networks, seconds=round(time.monotonic() - started, 1))
    except CodecError as error:
        _log.error("networks_not_loaded", networks=networks, code=error.code, error=str(error))
    except Exception:  # noqa: BLE001 - the first job that needs them meets it again, and tells its owner
        _log.exception("networks_not_loaded", networks=networks)
