"""What was ordered, what was promised and how it ended, as the clients saw it. The service is judged by this."""

import io
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

FINAL_STATES = frozenset({"succeeded", "failed", "cancelled"})

_TEXTS = ("A red boat on a quiet lake.", "Two dogs run over wet sand.", "An old tram climbs a steep street.")

_DECODE_OPTIONS: tuple[dict[str, Any], ...] = ({"restorer": "smooth"}, {"restorer": "smooth", "format": "webp"}, {})
"""What is ordered of some of the images; the last is the profile's own network."""


@dataclass
class Order:
    """One order and what became of it. `key` is its Idempotency-Key."""

    key: str
    options: dict[str, Any]
    seed: int = 0
    image_id: str | None = None
    reconstruction_id: str | None = None
    decode_options: dict[str, Any] | None = None
    is_decode: bool = False
    is_poison: bool = False
    is_impatient: bool = False
    job_id: str | None = None
    accepted_at: float | None = None
    state: str | None = None
    error_code: str | None = None
    ended_at: float | None = None
    attempts: int = 0

    def picture(self) -> Image.Image:
        """What is sent: small, smooth, and like that of no other seed."""
        noise = np.random.default_rng(self.seed)
        size = (int(noise.integers(64, 161)), int(noise.integers(64, 121)))
        blocks = noise.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        return Image.fromarray(blocks).resize(size, Image.Resampling.BICUBIC)

    def picture_file(self) -> bytes:
        """The same as a PNG."""
        file = io.BytesIO()
        self.picture().save(file, "PNG", compress_level=1)
        return file.getvalue()


def make_orders(jobs: int, seed: int) -> list[Order]:
    """Encodes in the order in which they are sent. One in ten is of a picture that was sent before, so that streams are
    shared; one in eight is followed by a decode; one in twelve is first sent by a client that does not wait."""
    random = np.random.default_rng(seed)
    orders: list[Order] = []
    for number in range(jobs):
        options: dict[str, Any] = {"mode": "pixel", "describe": "none", "blocks": int(random.choice([16, 24, 32]))}
        if random.random() < 0.3:
            options["text"] = str(random.choice(_TEXTS))
        if random.random() < 0.1:
            options["keep_original"] = True
        order = Order(f"order-{seed}-{number}", options, seed=seed * 1_000_003 + number)
        if orders and random.random() < 0.1:
            earlier = orders[int(random.integers(len(orders)))]
            order.seed, order.options = earlier.seed, earlier.options
        elif random.random() < 0.125:
            order.decode_options = _DECODE_OPTIONS[int(random.choice([0, 1, 2], p=[0.6, 0.25, 0.15]))]
        order.is_impatient = random.random() < 1 / 12
        orders.append(order)
    return orders


@dataclass
class Ledger:
    """All orders that were sent, and what should not have been seen. Used from many threads."""

    orders: list[Order] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    responses: Counter[str] = field(default_factory=Counter)
    submit_seconds: list[float] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, order: Order) -> None:
        """An order is about to be sent."""
        with self._lock:
            self.orders.append(order)

    def accept(self, order: Order, job_id: str, seconds: float) -> None:
        """It was answered with 202, or 200 for a reconstruction that is there."""
        with self._lock:
            if order.job_id not in (None, job_id):
                self.unexpected.append(f"{order.key} was answered with the jobs {order.job_id} and {job_id}")
            order.job_id, order.accepted_at = job_id, time.monotonic()
            self.submit_seconds.append(seconds)

    def end(self, order: Order, job: dict[str, Any]) -> None:
        """Its job was seen in a final state."""
        with self._lock:
            order.state, order.attempts = job["state"], job["attempts"]
            order.error_code = (job["error"] or {}).get("code")
            order.ended_at = time.monotonic()

    def count(self, response: str) -> None:
        """Count an answer by its status, or an error by its kind."""
        with self._lock:
            self.responses[response] += 1

    def note(self, finding: str) -> None:
        """Something that must not be seen."""
        with self._lock:
            self.unexpected.append(finding)

    def accepted(self) -> list[Order]:
        """Orders that the service took on."""
        with self._lock:
            return [order for order in self.orders if order.job_id is not None]

    def open(self) -> list[Order]:
        """Of those, the ones that have not ended."""
        return [order for order in self.accepted() if order.state is None]
