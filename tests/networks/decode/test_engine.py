"""The decode engine on real networks at tiny sizes: a request's picture is its own in any company."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from tiny_networks import TEXTS, ask, quarter_maps, textured, tiny_networks

from codec.decode.diffusion.restorer import DiffusionRestorer
from codec.decode.diffusion.state import DiffusionState
from codec.decode.engine.engine import Engine
from codec.decode.engine.places import Places
from codec.decode.engine.turns import Order
from codec.decode.restore import RestoreRequest
from codec.decode.restore.gan import GANRestorer
from codec.errors import Cancelled, OutOfMemory
from codec.nets.lite.rrdbnet import RRDBNet

MIXES = 300
RNG = np.random.default_rng(4)


class Request:
    """One of the requests that mixes are drawn from, with the picture that it gets alone."""

    def __init__(self, restorer: Any, request: RestoreRequest) -> None:
        self.restorer, self.request = restorer, request
        self.alone = np.asarray(restorer.finish(restorer.begin(request)))

    def difference(self, picture: Any) -> int:
        return int(np.abs(np.asarray(picture).astype(int) - self.alone).max())


@pytest.fixture(scope="module")
def requests() -> list[Request]:
    """Different sizes, numbers of regions, schedules, solvers, guidance and seeds; two restorers."""
    torch.manual_seed(3)
    diffusion = DiffusionRestorer(tiny_networks())
    gan = GANRestorer(RRDBNet(blocks=1).eval().requires_grad_(False))
    maps = quarter_maps()
    made = [
        ask(textured(64, 64), steps=2),
        ask(textured(64, 64, 1), steps=3, seed=8),
        ask(textured(64, 64, 2), steps=2, solver="unipc", maps=maps),
        ask(textured(64, 64, 3), steps=3, maps=maps, seed=1),
        ask(textured(128, 128), steps=2, guidance=1, res=128),
        ask(textured(64, 96), steps=2, strength=0.5),
        ask(textured(40, 64), steps=2, solver="euler"),
        ask(textured(64, 64, 5), steps=2, schedule="staged", maps=maps[:1]),
    ]
    small = [ask(textured(h, w, h), restorer="gan") for h, w in ((64, 64), (60, 50), (33, 70), (64, 61), (8, 8))]
    return [Request(diffusion, each) for each in made] + [Request(gan, each) for each in small]


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine() as running:
        yield running


def drive(engine: Engine, one: Request, state: Any, is_cancelled: Any = lambda: False) -> Any:
    height, width = one.request.coarse.shape[:2]
    engine.advance(one.restorer, state, Order(height * width), lambda: None, is_cancelled)
    return one.restorer.finish(state)


@pytest.mark.timeout(900)  # 300 mixes
def test_request_gets_its_picture_in_any_mix(engine: Engine, requests: Sequence[Request]) -> None:
    """Some of a mix are cancelled on the way, some fail: the others do not notice."""
    worst = finished = ended = 0
    with ThreadPoolExecutor(6) as pool:
        for _ in range(MIXES):
            mix = [requests[index] for index in RNG.integers(len(requests), size=RNG.integers(2, 6))]
            futures = []
            for place, one in enumerate(mix):
                state = one.restorer.begin(one.request)
                fate = RNG.integers(8) if place else 7  # the first of a mix always goes through
                cancel = threading.Event()
                if fate == 0:
                    _fail_at_the_second_output(state)
                elif fate == 1:
                    cancel.set()
                futures.append((one, fate, pool.submit(drive, engine, one, state, cancel.is_set)))
            for one, fate, future in futures:
                if fate == 0 and one.request.options.restorer_name != "gan":
                    with pytest.raises(ArithmeticError):
                        future.result(60)
                    ended += 1
                elif fate == 1:
                    try:
                        worst = max(worst, one.difference(future.result(60)))  # it was done before anybody looked
                    except Cancelled:
                        ended += 1
                elif fate > 1:
                    worst = max(worst, one.difference(future.result(60)))
                    finished += 1
                else:
                    future.exception(60)
    assert worst <= 1
    assert finished > 2 * MIXES and ended > MIXES // 8


def _fail_at_the_second_output(state: Any) -> None:
    apply_output, outputs = state.apply_output, []

    def _apply(output: torch.Tensor) -> None:
        outputs.append(output)
        if len(outputs) == 2:
            raise ArithmeticError("not a number")
        apply_output(output)

    state.apply_output = _apply


def test_request_that_joins_later_shares_steps_and_gets_its_latents(requests: Sequence[Request]) -> None:
    """Latents, which no rounding hides, stay within 1e-4 of those alone."""
    one, other = requests[0], requests[1]
    alone: DiffusionState = one.restorer.begin(one.request)
    while alone.stage != "decode":
        one.restorer.step([alone])
    shared, company = one.restorer.begin(one.request), other.restorer.begin(other.request)
    for _ in range(3):
        one.restorer.step([company])
    while shared.stage != "decode":
        one.restorer.step([company, shared])
    assert alone.latents is not None and shared.latents is not None
    assert (alone.latents - shared.latents).abs().max() < 1e-4


def test_small_pictures_of_the_lite_network_share_calls(requests: Sequence[Request]) -> None:
    seen: list[int] = []
    gan = requests[-1].restorer
    hook = gan._network.register_forward_pre_hook(lambda _module, inputs: seen.append(len(inputs[0])))
    states = [one.restorer.begin(one.request) for one in requests if one.restorer is gan]
    gan.step(states)
    hook.remove()
    # 64 x 64, 60 x 50 and 64 x 61 are filled up to 64 x 64; 33 x 70 to 64 x 96; 8 x 8 to 32 x 32.
    assert sorted(seen) == [1, 1, 3]
    assert all(state.is_done for state in states)


def test_tiles_that_do_not_fit_together_are_restored_one_by_one(requests: Sequence[Request]) -> None:
    gan = requests[-1].restorer

    def _refuse_two(_module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if len(inputs[0]) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    hook = gan._network.register_forward_pre_hook(_refuse_two)
    mine = [one for one in requests if one.restorer is gan]
    states = [one.restorer.begin(one.request) for one in mine]
    gan.step(states)
    hook.remove()
    assert [one.difference(gan.finish(state)) for one, state in zip(mine, states, strict=True)] == [0] * 5


def test_only_the_request_that_cannot_fit_alone_runs_out_of_memory(engine: Engine, requests: Sequence[Request]) -> None:
    gan = requests[-1].restorer
    large = Request(gan, ask(textured(200, 280), restorer="gan"))

    def _refuse_large(_module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if inputs[0].shape[-1] > 128:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    hook = gan._network.register_forward_pre_hook(_refuse_large)
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(drive, engine, one, gan.begin(one.request)) for one in (large, *requests[-3:])]
        failure = futures[0].exception(30)
        differences = [one.difference(each.result(30)) for one, each in zip(requests[-3:], futures[1:], strict=True)]
    hook.remove()
    assert isinstance(failure, OutOfMemory)
    assert max(differences) <= 1


def test_waiting_thread_sees_progress_and_stops_soon(engine: Engine, requests: Sequence[Request]) -> None:
    one = Request(requests[0].restorer, ask(textured(64, 64), schedule="staged", maps=quarter_maps(), texts=TEXTS))
    state, seen = one.restorer.begin(one.request), []

    def _note() -> None:
        seen.append(state.steps_done)

    with pytest.raises(Cancelled):
        engine.advance(one.restorer, state, Order(1), _note, lambda: len(seen) >= 3)
    assert seen == sorted(seen) and 0 < seen[-1] < state.steps_total
    time.sleep(0.2)  # a step that was under way may still end
    steps = state.steps_done
    time.sleep(0.2)
    assert state.steps_done == steps


def test_defect_of_a_restorer_ends_its_requests_and_not_the_engine(engine: Engine, requests: Sequence[Request]) -> None:
    class Broken:
        def step(self, _states: Sequence[Any]) -> None:
            raise RuntimeError("a defect")

    state = requests[0].restorer.begin(requests[0].request)
    with pytest.raises(RuntimeError, match="a defect"):
        engine.advance(Broken(), state, Order(1), lambda: None, lambda: False)  # type: ignore[arg-type]
    assert requests[0].difference(drive(engine, requests[0], requests[0].restorer.begin(requests[0].request))) <= 1


def test_closing_ends_what_waits(requests: Sequence[Request]) -> None:
    engine, one = Engine(), requests[7]
    engine.start()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(drive, engine, one, one.restorer.begin(one.request))
        engine.close()
        with pytest.raises(Cancelled):
            future.result(10)
    with pytest.raises(Cancelled):
        drive(engine, one, one.restorer.begin(one.request))


def test_places_bound_what_is_in_memory_and_keep_their_order() -> None:
    places, order, most, inside = Places(100), [], 0, 0
    lock = threading.Lock()

    def _use(number: int, pixels: int) -> None:
        nonlocal most, inside
        with places.take(pixels, lambda: False):
            with lock:
                order.append(number)
                inside += min(pixels, 100)
                most = max(most, inside)
            time.sleep(0.02)
            with lock:
                inside -= min(pixels, 100)

    with ThreadPoolExecutor(8) as pool:
        for number, pixels in enumerate((60, 500, 30, 30, 30, 90)):
            pool.submit(_use, number, pixels)
            time.sleep(0.005)
    assert most <= 100
    assert order[:2] == [0, 1] and sorted(order) == list(range(6))
    with places.take(100, lambda: False), pytest.raises(Cancelled), places.take(1, lambda: True):
        pass
    with places.take(100, lambda: False):
        pass
