"""The ways of decoding that are compared, each measured on the same requests and the same arrivals."""

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import torch

from bench.arrivals import Serve, at_once, measure, poisson, serve_by_engine, serve_in_batches, serve_serially
from bench.decode.arithmetic import matmul_ceiling, picture_flops
from bench.decode.memory import peak_memory
from bench.decode.subject import Precision, Subject, make_requests, make_restorer
from codec.decode.restore import Restorer, RestoreRequest
from codec.options import Schedule

_WARM_UP_STEPS = 2
_TOGETHER = 16
_SERIAL_AT_ONCE = 4
"""Requests that tell the rate of one after the other, where all come at once: more would say the same."""


class Way(StrEnum):
    """How requests are served."""

    PUBLISHED = "published"
    """One after the other in float32, guided and unguided halves as two calls of the networks."""
    HALF = "half"
    """The same in half precision."""
    STATIC = "static"
    """Batches of up to 16 that are advanced to the end of their last, one call for both halves."""
    ENGINE = "engine"
    """The decode engine, whose requests join and leave between steps."""

    @property
    def serve(self) -> Serve:
        """What serves."""
        return {Way.STATIC: serve_in_batches, Way.ENGINE: serve_by_engine}.get(self, serve_serially)


@dataclass(frozen=True)
class Trial:
    """What is measured of each way: `loads` as shares of what the way `half` can do, or else the first way.

    `own` is how static batches and the engine run. `half`: the type of the way of that name.
    """

    subject: Subject
    own: Precision
    half: torch.dtype
    size: int
    schedule: Schedule
    requests: int
    loads: Sequence[float]
    steps: int | None = None

    def precision_of(self, way: Way) -> Precision:
        """How a way runs its networks."""
        if way in (Way.PUBLISHED, Way.HALF):
            dtype = torch.float32 if way is Way.PUBLISHED else self.half
            return Precision(self.own.device, dtype, splits_halves=True)
        return self.own


def compare(trial: Trial, ways: Sequence[Way]) -> Iterator[dict[str, Any]]:
    """A row for each way and load, as soon as it is measured; load 0 stands for all requests at once.

    `ceiling_share` is the arithmetic of the networks' calls beside that of dense products of the same type.
    """
    requests = make_requests(trial.subject, trial.requests, trial.size, trial.schedule, trial.steps)
    flops, ceilings = 0, dict[torch.dtype, float]()
    at_once_rates: dict[Way, float] = {}
    # The reference comes first, because the others' loads are shares of it.
    for way in sorted(ways, key=lambda each: each is not Way.HALF):
        precision = trial.precision_of(way)
        if precision.dtype not in ceilings:
            ceilings[precision.dtype] = matmul_ceiling(precision.device, precision.dtype)
        with ExitStack() as open_until:
            restorer = make_restorer(trial.subject, precision, open_until)
            flops = flops or picture_flops(trial.subject, restorer, requests[0])
            _warm_up(way, restorer, requests)
            for load in (0.0, *trial.loads):
                reference = next(iter(at_once_rates.values()), 0.0)
                if load:
                    arrivals = poisson(requests, load * reference, np.random.default_rng(1))
                else:
                    arrivals = at_once(requests[:_SERIAL_AT_ONCE] if way.serve is serve_serially else requests)
                with peak_memory(precision.device) as peak:
                    figures = measure(way.serve, restorer, arrivals)
                if not load:
                    at_once_rates[way] = figures["pictures_per_second"]
                yield {
                    "networks": str(trial.subject),
                    "size": trial.size,
                    "schedule": str(trial.schedule),
                    "way": str(way),
                    "dtype": precision.dtype_name,
                    "compiled": precision.is_compiled,
                    "graphs": precision.is_graphed,
                    "load": load,
                    "requests": len(arrivals),
                    **figures,
                    "ceiling_share": figures["pictures_per_second"] * flops / ceilings[precision.dtype],
                    "ceiling_tflops": ceilings[precision.dtype] / 1e12,
                    "picture_tflop": flops / 1e12,
                    "peak_bytes": peak.bytes,
                }
        del restorer
        _free(precision)


def _warm_up(way: Way, restorer: Restorer, requests: Sequence[RestoreRequest]) -> None:
    """Have every call of the way made once at its own shape, so that no measured one compiles or chooses."""
    quick = [_quickened(each) for each in requests[:_TOGETHER]]
    way.serve(restorer, at_once(quick[:1]))
    if way.serve is not serve_serially:
        serve_in_batches(restorer, at_once(quick))


def _quickened(request: RestoreRequest) -> RestoreRequest:
    return replace(request, options=request.options.model_copy(update={"steps": _WARM_UP_STEPS}))


def _free(precision: Precision) -> None:
    """Modules refer to each other in circles, which only the collector takes apart."""
    gc.collect()
    if precision.is_compiled:
        sys.modules["torch"].compiler.reset()
    if precision.device.type == "cuda":
        torch.cuda.empty_cache()
