"""The simulated fleet: what a worker takes, how a scaler follows, what a lost machine costs; held to arithmetic."""

import numpy as np
import pytest

from bench.capacity import Turn, fitted, poisson
from bench.fleet import Engine, Losses, Request, Scaler, simulate

ENGINE = Engine(base=0.1, each=0.05, most=4)
ONE = Scaler(1, 1, 1.0)


def test_a_request_alone_takes_its_turns() -> None:
    outcome = simulate([Request(3.0, 10)], ENGINE, ONE)
    assert outcome.waits == pytest.approx([10 * 0.15])
    assert outcome.worker_seconds == pytest.approx(3.0 + 1.5)


def test_turns_of_a_run_are_fitted_with_what_lay_between_them_but_for_idle_time() -> None:
    turns, now = [], 0.0
    for number in range(60):
        requests = 1 + number % 4
        now += 5.0 if number % 20 == 19 else 0.01
        now += ENGINE.turn(requests)
        turns.append(Turn(now, requests, ENGINE.turn(requests)))
    found = fitted(turns, 4)
    assert (found.base, found.each, found.most) == (pytest.approx(0.11, abs=2e-3), pytest.approx(0.05, abs=1e-3), 4)


def test_requests_together_share_turns() -> None:
    outcome = simulate([Request(0.0, 10)] * 4, ENGINE, ONE)
    assert outcome.waits == pytest.approx([10 * 0.3] * 4)


def test_a_newcomer_joins_at_the_next_turn() -> None:
    # Its neighbour ends its first turn, which was lengthened when it came, and then both take the same turns.
    outcome = simulate([Request(0.0, 2), Request(0.075, 1)], ENGINE, ONE)
    assert outcome.waits[0] == pytest.approx(0.075 + 0.5 * 0.2 + 0.2)
    assert outcome.waits[1] == pytest.approx(0.5 * 0.2 + 0.2)


def test_who_finds_no_place_waits() -> None:
    outcome = simulate([Request(0.0, 10)] * 5, ENGINE, ONE)
    assert sorted(outcome.waits)[:4] == pytest.approx([3.0] * 4)
    assert max(outcome.waits) == pytest.approx(3.0 + 10 * 0.15)


def test_two_workers_halve_a_queue() -> None:
    requests = [Request(0.0, 10)] * 8
    assert max(simulate(requests, ENGINE, Scaler(2, 2, 1.0)).waits) == pytest.approx(3.0)
    assert max(simulate(requests, ENGINE, ONE).waits) == pytest.approx(6.0)


def test_a_scaled_fleet_waits_for_its_cold_start_and_goes_again() -> None:
    late = Request(10_000.0, 10)
    scaler = Scaler(0, 3, jobs_each=4, period=10.0, cold_start=60.0, patience=100.0)
    outcome = simulate([Request(1.0, 10), late], ENGINE, scaler)
    assert outcome.waits[0] == pytest.approx(9.0 + 60.0 + 1.5)
    assert outcome.worker_seconds < 500, "nobody is paid for the idle hours between"


def test_a_lost_machines_jobs_are_done_by_others() -> None:
    requests = poisson(2.0, 600.0, steps=10)
    outcome = simulate(requests, ENGINE, Scaler(2, 2, 1.0, cold_start=30.0), losses=Losses(100.0))
    assert outcome.lost_attempts > 0
    assert np.isfinite(outcome.waits).all()
    assert outcome.percentile(99) > simulate(requests, ENGINE, Scaler(2, 2, 1.0)).percentile(99)


def test_a_full_worker_gives_what_it_can_at_most() -> None:
    requests = [Request(0.0, 10)] * 400
    seconds = max(simulate(requests, ENGINE, ONE).waits)
    assert len(requests) / seconds == pytest.approx(ENGINE.pictures_per_second(10))
