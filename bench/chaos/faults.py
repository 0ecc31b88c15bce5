"""The kinds of faults: how each begins, and how it is over. What follows is the service's own business."""

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.chaos.clients import Clients
from bench.chaos.ledger import Ledger, Order
from bench.chaos.process import POISON
from bench.chaos.proxy import Disturbance, Harm, Proxy
from bench.chaos.stack import PROCESSES, FullStack
from core.broker import Broker
from core.settings import BrokerSettings

_CLOCK_JUMP_SECONDS = 7200.0


@dataclass(frozen=True)
class Scene:
    """What a fault may lay hands on."""

    stack: FullStack
    clients: Clients
    ledger: Ledger
    random: random.Random
    lease_seconds: float

    def any_of(self, kind: str) -> str:
        """The name of one process of a kind."""
        return self.random.choice(self.stack.names(kind))


@dataclass(frozen=True)
class Fault:
    """A kind of fault. `inflict` takes a scene and the seconds that the fault lasts, and returns when it is over."""

    title: str
    inflict: Callable[[Scene, float], None]
    seconds: tuple[float, float] = (0.0, 0.0)
    """Between these a plan draws how long it lasts; 0 where it is a blow."""

    needs: Callable[[FullStack], bool] = lambda _stack: True
    """Whether it can be inflicted on this machine."""


def _kill(kind: str) -> Callable[[Scene, float], None]:
    return lambda scene, _seconds: scene.stack.kill(scene.any_of(kind))


def _kill_all_workers(scene: Scene, _seconds: float) -> None:
    for kind in ("encode", "decode", "maintenance"):
        for name in scene.stack.names(kind):
            scene.stack.kill(name)


def _freeze(kind: str) -> Callable[[Scene, float], None]:
    """Until after the lease: the job is given away while its worker is alive, and comes back to its senses."""

    def _inflict(scene: Scene, seconds: float) -> None:
        name = scene.any_of(kind)
        scene.stack.pause(name)
        time.sleep(seconds + (0 if kind == "api" else scene.lease_seconds))
        scene.stack.resume(name)

    return _inflict


def _restart_each(scene: Scene, _seconds: float) -> None:
    for name in PROCESSES:
        scene.stack.restart(name)


def _restart_one(kind: str) -> Callable[[Scene, float], None]:
    def _inflict(scene: Scene, _seconds: float) -> None:
        scene.stack.restart(scene.any_of(kind))

    return _inflict


def _restart_broker(*, keeps_data: bool) -> Callable[[Scene, float], None]:
    def _inflict(scene: Scene, seconds: float) -> None:
        scene.stack.broker.kill(keeps_data=keeps_data)
        time.sleep(seconds)
        scene.stack.broker.start()

    return _inflict


def _flush_broker(scene: Scene, _seconds: float) -> None:
    scene.stack.broker.flush()


def _freeze_broker(scene: Scene, seconds: float) -> None:
    scene.stack.broker.pause()
    time.sleep(seconds)
    scene.stack.broker.resume()


def _double_messages(scene: Scene, _seconds: float) -> None:
    """Every job that was ever accepted gets another message, in the wrong queue too."""
    broker = Broker(BrokerSettings(url=scene.stack.broker.url))
    try:
        accepted = scene.ledger.accepted()
        for queue in ("encode", "decode"):
            broker.notify([order.job_id for order in accepted if order.job_id is not None], queue)
    finally:
        broker.close()


def _crash_database(scene: Scene, seconds: float) -> None:
    scene.stack.database.crash()
    time.sleep(seconds)
    scene.stack.database.start()


def _make_database_read_only(scene: Scene, seconds: float) -> None:
    """As a primary that is being replaced: sessions stay, and writing is refused."""
    _set_read_only(scene, "on")
    time.sleep(seconds)
    _set_read_only(scene, "off")


def _set_read_only(scene: Scene, value: str) -> None:
    database = scene.stack.database
    database.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value};")
    database.execute("SELECT pg_reload_conf();")


def _end_sessions(scene: Scene, _seconds: float) -> None:
    scene.stack.database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend';"
    )


def _stop_store(scene: Scene, seconds: float) -> None:
    scene.stack.store.kill()
    time.sleep(seconds)
    scene.stack.store.start()


def _freeze_store(scene: Scene, seconds: float) -> None:
    scene.stack.store.pause()
    time.sleep(seconds)
    scene.stack.store.resume()


def _fill_scratch(scene: Scene, seconds: float) -> None:
    scene.stack.scratch.fill()
    time.sleep(seconds)
    scene.stack.scratch.free()


def _disturb(
    proxy_of: Callable[[FullStack], Proxy], harm: Harm, share: float, delay: float = 20.0
) -> Callable[[Scene, float], None]:
    def _inflict(scene: Scene, seconds: float) -> None:
        with _disturbed(proxy_of(scene.stack), Disturbance(harm, share, delay)):
            time.sleep(seconds)

    return _inflict


@contextlib.contextmanager
def _disturbed(proxy: Proxy, disturbance: Disturbance) -> Iterator[None]:
    proxy.disturb(disturbance)
    try:
        yield
    finally:
        proxy.settle()


def _poison(scene: Scene, _seconds: float) -> None:
    """A job that kills every worker that works at it, from now on until the service lets it be."""
    number = scene.random.randrange(10**9)
    scene.clients.send_now(
        Order(f"{POISON}-{number}", {"mode": "pixel", "describe": "none"}, seed=number, is_poison=True)
    )


def _set_clocks(scene: Scene, seconds: float) -> None:
    """One of two machines, which has the maintenance too, is two hours ahead or behind for a while."""
    ahead = scene.random.choice([-_CLOCK_JUMP_SECONDS, _CLOCK_JUMP_SECONDS])
    machine = [name for name in PROCESSES if name.endswith("-1")]
    for name in machine:
        scene.stack.set_clock(name, ahead)
    time.sleep(seconds)
    for name in machine:
        scene.stack.set_clock(name, 0.0)


def _database(stack: FullStack) -> Proxy:
    return stack.database_proxy


def _broker(stack: FullStack) -> Proxy:
    return stack.broker_proxy


def _store(stack: FullStack) -> Proxy:
    return stack.store_proxy


FAULTS: dict[str, Fault] = {
    "kill-api": Fault("kill -9 of an API while it answers", _kill("api")),
    "kill-encode": Fault("kill -9 of an encode worker", _kill("encode")),
    "kill-decode": Fault("kill -9 of a decode worker", _kill("decode")),
    "kill-maintenance": Fault("kill -9 of the maintenance worker", _kill("maintenance")),
    "kill-workers": Fault("kill -9 of all workers at once", _kill_all_workers),
    "freeze-api": Fault("an API frozen", _freeze("api"), (4, 12)),
    "freeze-encode": Fault("an encode worker frozen past its leases", _freeze("encode"), (3, 8)),
    "freeze-decode": Fault("a decode worker frozen past its leases", _freeze("decode"), (3, 8)),
    "restart-api": Fault("an API restarted by SIGTERM", _restart_one("api")),
    "rolling-restart": Fault("every process restarted by SIGTERM, one after the other", _restart_each),
    "poison": Fault("a job that kills every worker that works at it", _poison),
    "broker-emptied": Fault("Redis killed, back without its data", _restart_broker(keeps_data=False), (0, 6)),
    "broker-restarted": Fault("Redis killed, back with its data", _restart_broker(keeps_data=True), (0, 6)),
    "broker-flushed": Fault("Redis flushed", _flush_broker),
    "broker-frozen": Fault("Redis frozen", _freeze_broker, (5, 25)),
    "broker-cut": Fault("a third of Redis' connections cut", _disturb(_broker, Harm.CUT, 0.3), (4, 10)),
    "doubled-messages": Fault("every message sent twice more, also to the wrong queue", _double_messages),
    "database-crash": Fault("PostgreSQL crashed and recovered", _crash_database, (0, 8)),
    "database-read-only": Fault("PostgreSQL read-only", _make_database_read_only, (4, 12)),
    "database-sessions-ended": Fault("all sessions of PostgreSQL ended", _end_sessions),
    "database-stalled": Fault("PostgreSQL silent behind the network", _disturb(_database, Harm.STALL, 1.0), (5, 20)),
    "database-answers-lost": Fault(
        "one in fifty answers of PostgreSQL lost, COMMITs among them",
        _disturb(_database, Harm.LOSE_ANSWER, 0.02),
        (4, 10),
    ),
    "store-away": Fault("the store away", _stop_store, (5, 30)),
    "store-frozen": Fault("the store frozen", _freeze_store, (5, 25)),
    "store-full": Fault("the store's disk full", _disturb(_store, Harm.REFUSE_UPLOADS, 1.0), (4, 15)),
    "store-cut": Fault("a third of requests to the store cut", _disturb(_store, Harm.CUT, 0.33), (4, 12)),
    "store-half-answers": Fault(
        "half of the store's answers broken off", _disturb(_store, Harm.HALF_ANSWER, 0.5), (4, 12)
    ),
    "store-answers-lost": Fault("half of the store's answers lost", _disturb(_store, Harm.LOSE_ANSWER, 0.5), (4, 12)),
    "store-slow": Fault("the store at 4 KB a second", _disturb(_store, Harm.SLOW, 1.0), (5, 15)),
    "store-delayed": Fault(
        "requests that reach the store after their time-out", _disturb(_store, Harm.DELAY, 0.3, delay=20.0), (4, 12)
    ),
    "store-flips-answers": Fault(
        "a bit flipped in half of the store's answers", _disturb(_store, Harm.FLIP_ANSWER, 0.5), (4, 10)
    ),
    "store-flips-requests": Fault(
        "a bit flipped in half of the uploads", _disturb(_store, Harm.FLIP_REQUEST, 0.5), (4, 10)
    ),
    "clock-jump": Fault("the clock of one machine two hours off, and back", _set_clocks, (4, 15)),
    "disk-full": Fault(
        "no room for temporary files", _fill_scratch, (4, 12), needs=lambda stack: stack.scratch.can_fill
    ),
}
"""All kinds, by the names that `--kinds` takes."""
