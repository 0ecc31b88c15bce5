"""Whose turn it is: which of many requests the next step of the engine advances. Has no thread and calls no network.

A request that is nearly done goes first, because that keeps the mean wait shortest; owners get equal shares of the
device, bulk waits for interactive requests, deadlines are kept where they can be, and nobody waits for ever.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import StrEnum

from codec.decode.restore import Restorer, RestoreState


class Priority(StrEnum):
    """How urgent a request is."""

    INTERACTIVE = "interactive"
    """Somebody waits for the picture."""
    BULK = "bulk"
    """Nobody waits; it is served when no interactive request is there, or has waited long."""


@dataclass(frozen=True)
class Urgency:
    """How soon a picture is wanted. `deadline`: a reading of `time.monotonic`, where there is one."""

    priority: Priority = Priority.INTERACTIVE
    deadline: float | None = None


_LONGEST_WAIT = {Priority.INTERACTIVE: 10.0, Priority.BULK: 60.0}
"""Seconds without a step after which a request goes first, so that a large picture behind many small ones gets on."""

_FIRST_SECONDS_PER_PIXEL = 1e-6
"""Taken until the first step was timed; a CPU needs about that long for the network of lite."""

_SMOOTHING = 0.1
"""The weight of the latest step in the mean of the seconds that a pixel takes."""

_URGENT, _INTERACTIVE, _BULK = range(3)


@dataclass(frozen=True)
class Order:
    """What the bringer of a request says of it.

    `pixels`: what networks will evaluate for it (`codec.decode_price`). `owner`: whose share of the device it uses.
    `urgency` is asked before each step: somebody else may come to wait for the picture.
    """

    pixels: int
    owner: str = ""
    urgency: Callable[[], Urgency] = Urgency


class Entry:
    """One request in the engine: its order, its state, and when it joined or last advanced."""

    def __init__(self, restorer: Restorer, state: RestoreState, order: Order, now: float) -> None:
        self.restorer, self.state, self.order = restorer, state, order
        self.waits_since = now

    @property
    def pixels_left(self) -> float:
        """Pixels that networks have still to evaluate."""
        state = self.state
        return self.order.pixels * (1 - state.steps_done / max(1, state.steps_total))

    @property
    def batch_key(self) -> Hashable:
        """What the next step has in common with those of others that it can be taken together with."""
        key = self.state.batch_key
        return id(self) if key is None else (id(self.restorer), key)


class Turns:
    """The requests under way, and the choice among them. The caller keeps it to one thread at a time."""

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}
        self._service: dict[str, float] = {}
        self._seconds_per_pixel = _FIRST_SECONDS_PER_PIXEL
        self._is_timed = False

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry) -> None:
        """Let a request take part. An owner who was away begins where the least served of the others is."""
        if entry.order.owner not in self._service:
            self._service[entry.order.owner] = min(self._service.values(), default=0.0)
        self._entries[id(entry)] = entry

    def remove(self, entry: Entry) -> None:
        """Let a request take part no longer; one that does not is no error."""
        self._entries.pop(id(entry), None)
        owner = entry.order.owner
        if not any(other.order.owner == owner for other in self._entries.values()):
            self._service.pop(owner, None)

    def next(self, now: float, most: int) -> list[Entry]:
        """The requests of the next step: the one whose turn it is, and up to `most` - 1 that can share its call."""
        if not self._entries:
            return []
        lead = min(self._entries.values(), key=lambda entry: self._rank(entry, now))
        if lead.state.batch_key is None:
            return [lead]
        sharing = [each for each in self._entries.values() if each.batch_key == lead.batch_key]
        return sorted(sharing, key=lambda entry: self._rank(entry, now))[:most]

    def charge(self, entries: list[Entry], seconds: float, pixels: float, now: float) -> None:
        """Note that a step took `seconds` for these requests together, in which they advanced by `pixels`."""
        for entry in entries:
            entry.waits_since = now
            if entry.order.owner in self._service:
                self._service[entry.order.owner] += seconds / len(entries)
        if pixels > 0:
            weight = _SMOOTHING if self._is_timed else 1.0
            self._seconds_per_pixel += weight * (seconds / pixels - self._seconds_per_pixel)
            self._is_timed = True

    def _rank(self, entry: Entry, now: float) -> tuple[int, float, float]:
        """The lowest goes first."""
        urgency, seconds_left = entry.order.urgency(), entry.pixels_left * self._seconds_per_pixel
        if urgency.deadline is not None and now + 2 * seconds_left > urgency.deadline > now + seconds_left:
            return _URGENT, 0.0, urgency.deadline
        if (waited := now - entry.waits_since) > _LONGEST_WAIT[urgency.priority]:
            return _URGENT, 1.0, -waited
        group = _INTERACTIVE if urgency.priority is Priority.INTERACTIVE else _BULK
        return group, self._service[entry.order.owner], seconds_left
