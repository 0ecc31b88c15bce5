"""Decodes a stream as soon as it is made, measures what comes back, and has the picture encoded again at a higher rate
where that is not good enough. Stores nothing."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from PIL import Image

from codec.bitstream.stream import ExternalCoarse
from codec.decode.pipeline import decode
from codec.decode.restorers import Restorers
from codec.encode.coarse.ref import DEFAULT_MAX_BPP
from codec.encode.pipeline import Encoded
from codec.errors import Cancelled, FeatureUnavailable, WeightsError
from codec.nets.interface import FindNetwork
from codec.options import RATE_BUDGETS, DecodeOptions, EncodeOptions, Mode, Profile
from codec.quality import METRICS, Minimum

_GLANCE_SECONDS = 0.2


@dataclass(frozen=True)
class Quality:
    """How good a picture came back.

    `figures` by metric; `undefined` says why a metric has none. `restorer` made the picture, with networks of these
    SHA-256 by part, in so many seconds.
    """

    figures: dict[str, float]
    undefined: dict[str, str] = field(default_factory=dict)
    restorer: str = ""
    weights: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


class QualityMeter:
    """Decodes and measures, one picture at a time, since one has all processors or the device busy. Thread-safe."""

    def __init__(self, restorers: Restorers, find_network: FindNetwork) -> None:
        self._restorers, self._find_network = restorers, find_network
        self._turn = threading.Lock()

    def check(self, options: EncodeOptions) -> None:
        """Raise what `measure` would raise for want of networks or weights, before anything is encoded.

        WeightsError children, and FeatureUnavailable, which names what can be measured here.
        """
        self._restorers.check(DecodeOptions(profile=options.profile))
        minimum = options.minimum
        if minimum is not None and minimum.metric not in self._names:
            raise FeatureUnavailable(
                f"{minimum.metric} cannot be measured here: {self._metrics.left_out[minimum.metric]}. "
                f"Those that can are {', '.join(self._names)}."
            )

    def measure(self, original: Image.Image, encoded: Encoded, cancelled: Callable[[], bool]) -> Quality:
        """Restore the picture as an order without options would, and measure it beside the original (RGB).

        Raises Cancelled, and what a decode raises.
        """
        from codec.metrics.metric import View

        while not self._turn.acquire(timeout=_GLANCE_SECONDS):
            if cancelled():
                raise Cancelled("Stopped while waiting for a turn to decode.")
        try:
            started = time.perf_counter()
            options = DecodeOptions(profile=Profile(encoded.stream.profile))
            with self._restorers.use(options, cancelled) as restorer:
                decoded = decode(
                    encoded.data,
                    options,
                    reference=encoded.reference,
                    restorer=restorer,
                    find_network=self._find_network,
                    cancelled=cancelled,
                )
            measured = self._metrics.measure(View(original), decoded.picture)
            figures = {name: value for name, value in measured.values.items() if value is not None}
            seconds = time.perf_counter() - started
            return Quality(figures, measured.undefined, decoded.restorer, decoded.weights, seconds)
        finally:
            self._turn.release()

    @cached_property
    def _metrics(self) -> Any:
        from codec.metrics.registry import Metrics, load_metrics

        every = load_metrics()
        return Metrics(tuple(metric for metric in every.each if metric.name in METRICS), every.left_out)

    @property
    def _names(self) -> list[str]:
        return [metric.name for metric in self._metrics.each]


@dataclass(frozen=True)
class VerifiedEncode:
    """A stream and how good its picture came back; `tries` are the bits per pixel of each encode, with its quality."""

    encoded: Encoded
    minimum: Minimum | None
    tries: tuple[tuple[float, Quality], ...]

    @property
    def quality(self) -> Quality:
        """That of the stream that is kept, the last."""
        return self.tries[-1][1]

    @property
    def is_met(self) -> bool | None:
        """Whether it is as good as was asked for; None where nothing was asked."""
        minimum = self.minimum
        return None if minimum is None else minimum.is_met_by(self.quality.figures.get(minimum.metric))

    def as_document(self) -> dict[str, Any]:
        """What the archive keeps of it; docs/api.md has the keys."""
        quality, minimum = self.quality, self.minimum
        return {
            "figures": quality.figures,
            "restorer": quality.restorer,
            "weights": quality.weights,
            "minimum": None if minimum is None else {"metric": minimum.metric, "figure": minimum.figure},
            "is_met": self.is_met,
            "tries": [
                {"bpp": bpp, "figure": None if minimum is None else tried.figures.get(minimum.metric)}
                for bpp, tried in self.tries
            ],
        }


def encode_verified(
    options: EncodeOptions, encode: Callable[[EncodeOptions], Encoded], measure: Callable[[Encoded], Quality]
) -> VerifiedEncode:
    """Encode and measure; below the minimum of the options do so again at the next higher rate, up to the highest.

    The notes of what is returned say what happened, and its seconds have `verify` and count it.
    """
    minimum = options.minimum
    encoded = encode(options)
    tries = [(encoded.bpp, measure(encoded))]
    seconds = tries[0][1].seconds
    while minimum is not None and not minimum.is_met_by(tries[-1][1].figures.get(minimum.metric)):
        higher = None if minimum.metric in tries[-1][1].undefined else higher_rate(options, encoded)
        if higher is None:
            break
        try:
            again = encode(higher)
        except WeightsError:
            break  # the learned codec of that rate is not here
        options, encoded = higher, again
        tries.append((encoded.bpp, measure(encoded)))
        seconds += tries[-1][1].seconds
    verified = VerifiedEncode(encoded, minimum, tuple(tries))
    spent = encoded.seconds | {"verify": seconds, "total": encoded.seconds.get("total", 0.0) + seconds}
    return replace(verified, encoded=replace(encoded, notes=encoded.notes + _notes(verified), seconds=spent))


def higher_rate(options: EncodeOptions, encoded: Encoded) -> EncodeOptions | None:
    """The options of the next higher rate; None at the highest, and for modes and codecs that have no rates."""
    if isinstance(encoded.stream.coarse, ExternalCoarse):
        return None
    if options.mode is Mode.REF:
        budget = options.max_bpp or DEFAULT_MAX_BPP
        above = {rate: bpp for rate, bpp in RATE_BUDGETS.items() if bpp > budget}
        return options.model_copy(update={"rate": min(above), "max_bpp": above[min(above)]}) if above else None
    if options.mode is Mode.NET and options.network is None and options.rate < max(RATE_BUDGETS):
        return options.model_copy(update={"rate": options.rate + 1})
    return None


def _notes(verified: VerifiedEncode) -> tuple[str, ...]:
    minimum, tries = verified.minimum, verified.tries
    if minimum is None or (verified.is_met and len(tries) == 1):
        return ()
    if reason := verified.quality.undefined.get(minimum.metric):
        return (f"Whether it comes back with {minimum} cannot be told ({reason}).",)
    told = ", ".join(f"{quality.figures[minimum.metric]:.3f} at {bpp:.4f} bpp" for bpp, quality in tries)
    if verified.is_met:
        return (f"It was encoded again at a higher rate, to come back with {minimum}: {told}.",)
    return (f"It does not come back with {minimum} at the highest rate there is: {told}.",)
