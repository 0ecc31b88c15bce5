"""The engine itself: takes steps for whoever's turn it is, in one thread, and tells the threads that wait.

Requests join and leave between two steps. What comes before and after the steps of a request - unpacking, the coarse
picture, the finished file - is done by the thread that brought it, never by the engine's.
"""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from codec.decode.engine.places import Places
from codec.decode.engine.turns import Entry, Order, Turns, Urgency
from codec.decode.pipeline import PreparedDecode, step_alone
from codec.decode.restore import NEEDS_NETWORKS, Restorer, RestoreState
from codec.decode_price import evaluated_pixels
from codec.errors import Cancelled
from codec.interruptible import GLANCE_SECONDS

_MOST_TOGETHER = 16
"""Requests of one step. More gain little on any device, and each makes the step longer for all others."""

_MOST_PIXELS = 64_000_000
"""Of pictures under way. A pixel takes about 64 bytes of main memory while it is restored: 4 GB."""


OnStep = Callable[[int, float, float], None]
"""Told after each step, in the engine's thread: how many requests shared it, its seconds, and the pixels evaluated."""


class Handle:
    """One request in the engine, for the thread that brought it."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.has_ended = False
        self.failure: Exception | None = None
        self._changed = threading.Event()

    def wait(self, seconds: float) -> bool:
        """Wait for a step or the end, at most for `seconds`; True when there was one since the last call."""
        changed = self._changed.wait(seconds)
        self._changed.clear()
        return changed

    def note_step(self) -> None:
        """Tell the waiting thread; for the engine."""
        self._changed.set()

    def end(self, failure: Exception | None) -> None:
        """Tell the waiting thread that no step will follow; for the engine."""
        self.failure, self.has_ended = failure, True
        self._changed.set()


class Engine:
    """Advances the requests of all threads of a process. Use it as a context manager, or start and close it."""

    def __init__(
        self,
        *,
        most_together: int = _MOST_TOGETHER,
        most_pixels: int = _MOST_PIXELS,
        on_step: OnStep = lambda _requests, _seconds, _pixels: None,
    ) -> None:
        """`most_together`: requests of one step; `most_pixels`: of pictures that are under way at a time."""
        self._most_together, self._on_step = most_together, on_step
        self._places = Places(most_pixels)
        self._turns = Turns()
        self._handles: dict[int, Handle] = {}
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="decode-engine", daemon=True)

    def __enter__(self) -> "Engine":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Begin to take steps."""
        self._thread.start()

    def close(self) -> None:
        """End after the step that is under way; requests that are not done end as cancelled."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        with self._changed:
            handles, self._handles = list(self._handles.values()), {}
        for handle in handles:
            handle.end(_closed())

    def place(
        self, pixels: int, is_cancelled: Callable[[], bool], urgency: Callable[[], Urgency] = Urgency
    ) -> AbstractContextManager[None]:
        """Room for a picture of so many pixels, for a block from before the request is prepared to after it is
        finished; waits for its turn. Raises Cancelled."""
        return self._places.take(pixels, is_cancelled, urgency)

    def submit(self, restorer: Restorer, state: RestoreState, order: Order) -> Handle:
        """Have a state, begun by `restorer`, advanced to its end; returns at once. Raises Cancelled when closed.

        Nobody else may advance it until it has ended or was withdrawn.
        """
        handle = Handle(Entry(restorer, state, order, time.monotonic()))
        with self._changed:
            if self._is_closed:
                raise _closed()
            if state.is_done or state.failure is not None:
                handle.end(state.failure)
                return handle
            self._handles[id(handle.entry)] = handle
            self._turns.add(handle.entry)
            self._changed.notify_all()
        return handle

    def withdraw(self, handle: Handle) -> None:
        """Take no further step of a request; one that has ended is no error."""
        with self._changed:
            self._turns.remove(handle.entry)
            self._handles.pop(id(handle.entry), None)

    def drive(
        self,
        prepared: PreparedDecode,
        after_step: Callable[[], None],
        is_cancelled: Callable[[], bool],
        *,
        owner: str = "",
        urgency: Callable[[], Urgency] = Urgency,
    ) -> None:
        """Take all steps of a request: a `Drive`. Those of restorers without networks need no turn and are taken in
        this thread."""
        if prepared.options.restorer_name not in NEEDS_NETWORKS:
            step_alone(prepared, after_step, is_cancelled)
            return
        pixels = evaluated_pixels(prepared.options, prepared.stream.width, prepared.stream.height)
        order = Order(pixels, owner, urgency)
        self.advance(prepared.restorer, prepared.state, order, after_step, is_cancelled)

    def advance(
        self,
        restorer: Restorer,
        state: RestoreState,
        order: Order,
        after_step: Callable[[], None],
        is_cancelled: Callable[[], bool],
    ) -> None:
        """Submit a request and wait for its end. `after_step` is called in this thread when steps were taken.

        Raises the state's failure, and Cancelled soon after `is_cancelled` turns True.
        """
        handle = self.submit(restorer, state, order)
        try:
            while not handle.has_ended:
                if handle.wait(GLANCE_SECONDS):
                    after_step()
                if is_cancelled() and not handle.has_ended:
                    raise Cancelled("The decode was stopped because the caller asked for it.")
        finally:
            self.withdraw(handle)
        if handle.failure is not None:
            raise handle.failure

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed or len(self._turns))
                if self._is_closed:
                    return
                entries = self._turns.next(time.monotonic(), self._most_together)
            self._take_step(entries)

    def _take_step(self, entries: list[Entry]) -> None:
        begun, pixels_left = time.monotonic(), sum(entry.pixels_left for entry in entries)
        try:
            entries[0].restorer.step([entry.state for entry in entries])
        except Exception as error:  # noqa: BLE001 - restorers raise nothing here; a defect ends these requests only
            for entry in entries:
                entry.state.failure = entry.state.failure or error
        now = time.monotonic()
        advanced = pixels_left - sum(entry.pixels_left for entry in entries)
        self._on_step(len(entries), now - begun, advanced)
        with self._changed:
            self._turns.charge(entries, now - begun, advanced, now)
            for entry in entries:
                self._tell(entry)

    def _tell(self, entry: Entry) -> None:
        """The lock must be held."""
        handle, state = self._handles.get(id(entry)), entry.state
        if handle is None:
            return  # withdrawn during the step
        if state.is_done or state.failure is not None:
            self._turns.remove(entry)
            del self._handles[id(entry)]
            handle.end(state.failure)
        else:
            handle.note_step()


def _closed() -> Cancelled:
    return Cancelled("The decode engine was closed.")
