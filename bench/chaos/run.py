"""One run: the stack, steady submission, the faults of a plan, the wait until everything has ended, the verdict."""

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.chaos.checks import Verdict, judge
from bench.chaos.clients import Client, Clients
from bench.chaos.faults import FAULTS, Scene
from bench.chaos.ledger import Ledger, make_orders
from bench.chaos.plan import PlannedFault, expected_seconds
from bench.chaos.stack import full_stack
from bench.chaos.watcher import Watcher

_IDLE_SECONDS = 420.0
"""Nothing having ended for this long, what is still open is stuck. Longer than the longest pause between attempts."""

_POLL_SECONDS = 0.2
_REPORT_SECONDS = 10.0


@dataclass
class Blow:
    """A fault that was inflicted: when it was over, and what of the jobs accepted until then ended last."""

    fault: PlannedFault
    began_at: float
    over_at: float
    disturbed_exchanges: int
    recovery_seconds: float = 0.0
    waiting: int = 0


@dataclass
class Outcome:
    """What a run showed."""

    seed: int
    seconds: float
    blows: list[Blow]
    ledger: Ledger
    verdict: Verdict
    log: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class RunOptions:
    """What is run. `lease_seconds` is the workers' lease; `keep` a folder for the logs."""

    jobs: int
    seed: int
    plan: Sequence[PlannedFault]
    lease_seconds: float
    keep: Path | None = None


def run(options: RunOptions, say: Callable[[str], None]) -> Outcome:
    """Do it; `say` is told what happens. Raises RuntimeError when the service does not start."""
    started = time.monotonic()
    settings = {"MISC_WORKER_LEASE": str(options.lease_seconds)}
    with full_stack(options.seed, settings, options.keep) as stack:
        say(f"service ready after {time.monotonic() - started:.0f} s")
        ledger = Ledger()
        over = threading.Event()
        clients = Clients(stack.base_urls, ledger)
        observer = Client(stack.base_urls, ledger, over.is_set)
        watcher = Watcher(observer, ledger, clients.decode)
        scene = Scene(stack, clients, ledger, random.Random(options.seed), options.lease_seconds)
        orders = make_orders(options.jobs, options.seed)
        watcher.start()
        clients.start(orders, expected_seconds(options.plan, options.lease_seconds))
        blows = [_inflict(scene, fault, say) for fault in options.plan if FAULTS[fault.kind].needs(stack)]
        _wait_for_ends(clients, ledger, say)
        over.set()
        clients.close()
        watcher.close()
        _measure(blows, ledger)
        verdict = judge(stack, observer, ledger, say)
        say("done")
        observer.close()
    return Outcome(options.seed, time.monotonic() - started, blows, ledger, verdict)


def _inflict(scene: Scene, fault: PlannedFault, say: Callable[[str], None]) -> Blow:
    time.sleep(fault.pause_seconds)
    say(f"{fault.kind} for {fault.seconds:.1f} s" if fault.seconds else fault.kind)
    stack = scene.stack
    proxies = (stack.database_proxy, stack.broker_proxy, stack.store_proxy)
    before = sum(proxy.disturbed_exchanges for proxy in proxies)
    began = time.monotonic()
    FAULTS[fault.kind].inflict(scene, fault.seconds)
    disturbed = sum(proxy.disturbed_exchanges for proxy in proxies) - before
    return Blow(fault, began, time.monotonic(), disturbed)


def _wait_for_ends(clients: Clients, ledger: Ledger, say: Callable[[str], None]) -> None:
    last_change, last_open, last_said = time.monotonic(), -1, 0.0
    while True:
        still_open = len(ledger.open()) + clients.unsent
        if still_open == 0:
            return
        if still_open != last_open:
            last_change, last_open = time.monotonic(), still_open
        if time.monotonic() - last_said > _REPORT_SECONDS:
            last_said = time.monotonic()
            say(f"{still_open} open or not yet taken")
        if time.monotonic() - last_change > _IDLE_SECONDS:
            return
        time.sleep(_POLL_SECONDS)


def _measure(blows: Sequence[Blow], ledger: Ledger) -> None:
    """Recovery: from the end of the fault until all jobs that were open then have ended. Poison recovers never."""
    for blow in blows:
        waiting = [
            order
            for order in ledger.accepted()
            if not order.is_poison
            and order.accepted_at is not None
            and order.accepted_at <= blow.over_at
            and (order.ended_at is None or order.ended_at > blow.over_at)
        ]
        blow.waiting = len(waiting)
        ends = [order.ended_at or time.monotonic() for order in waiting]
        blow.recovery_seconds = max(ends, default=blow.over_at) - blow.over_at
