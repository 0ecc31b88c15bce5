"""Which faults come when: drawn from a seed, so that a run can be repeated."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from bench.chaos.faults import FAULTS

_PAUSE_SECONDS = (1.0, 4.0)
"""Between the end of one fault and the next. What follows a fault may take longer, and meets the next one."""

_LONG_PLAN = 40
_LONG_OUTAGE_SECONDS = 300.0
"""A plan of so many faults has the store away for this long, once."""


@dataclass(frozen=True)
class PlannedFault:
    """One fault: how long to wait before it, and how long it lasts."""

    kind: str
    pause_seconds: float
    seconds: float


def make_plan(faults: int, seed: int, kinds: Sequence[str], scale: float = 1.0) -> list[PlannedFault]:
    """So many faults, every kind about as often as the others, in a drawn order; `scale` shortens those that last."""
    draw = random.Random(seed)
    plan: list[PlannedFault] = []
    while len(plan) < faults:
        for kind in draw.sample(list(kinds), len(kinds)):
            pause = draw.uniform(*_PAUSE_SECONDS) * scale
            plan.append(PlannedFault(kind, pause, draw.uniform(*FAULTS[kind].seconds) * scale))
    plan = plan[:faults]
    if faults >= _LONG_PLAN:
        outages = [number for number, fault in enumerate(plan) if fault.kind == "store-away"]
        for number in outages[:1]:
            plan[number] = PlannedFault("store-away", plan[number].pause_seconds, _LONG_OUTAGE_SECONDS)
    return plan


def expected_seconds(plan: Sequence[PlannedFault], lease_seconds: float) -> float:
    """About how long the plan takes, for the pace of submission."""
    frozen = sum(lease_seconds for fault in plan if fault.kind in ("freeze-encode", "freeze-decode"))
    restarted = sum(20.0 for fault in plan if fault.kind == "rolling-restart")
    return sum(fault.pause_seconds + fault.seconds + 0.5 for fault in plan) + frozen + restarted
