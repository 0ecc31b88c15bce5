"""The comparison of ways of decoding, with tiny networks: what it counts, and that every way gives its rows."""

import numpy as np
import pytest
import torch

from bench.arrivals import at_once, poisson, serve_by_engine, serve_in_batches, serve_serially
from bench.decode.arithmetic import matmul_ceiling, picture_flops
from bench.decode.subject import Precision, SplitHalves, Subject, make_requests, random_network
from bench.decode.ways import Trial, Way, compare
from codec.decode.diffusion.diffbir import DiffBIRNetworks
from codec.decode.diffusion.restorer import DiffusionRestorer
from codec.options import Schedule

CPU = torch.device("cpu")


def test_arithmetic_of_a_product_is_counted_as_the_ceiling_counts_it() -> None:
    assert 1e8 < matmul_ceiling(CPU, torch.float32) < 1e14


def test_staged_counts_every_evaluation_of_its_four_passes() -> None:
    """98 samples of the network against the fast schedule's 24, and four times what comes before and after them."""
    fast, staged = (
        picture_flops(Subject.TINY, None, make_requests(Subject.TINY, 1, 512, each)[0])  # type: ignore[arg-type]
        for each in (Schedule.FAST, Schedule.STAGED)
    )
    assert 98 / 24 * 0.9 < staged / fast < 98 / 24 * 1.1


def test_every_way_serves_the_same_requests_and_says_how_long_they_waited() -> None:
    trial = Trial(Subject.TINY, Precision(CPU, torch.float32), torch.float32, 64, Schedule.FAST, 2, (2.0,), steps=2)
    rows = list(compare(trial, list(Way)))
    assert [(row["way"], row["load"]) for row in rows] == [
        (way, load) for way in ("half", "published", "static", "engine") for load in (0.0, 2.0)
    ]
    for row in rows:
        assert 0 < row["p50"] <= row["p95"] <= row["p99"]
        assert 0 < row["ceiling_share"] < 1 and row["peak_bytes"] > 0


def test_halves_in_two_calls_give_the_picture_of_one() -> None:
    request = make_requests(Subject.TINY, 1, 64, Schedule.FAST, steps=2)[0]
    network = random_network(Subject.TINY.config, CPU, torch.float32)
    once, twice = (
        np.asarray(by.finish(by.begin(request))).astype(int)
        for by in (
            DiffusionRestorer(DiffBIRNetworks(network)),
            DiffusionRestorer(SplitHalves(DiffBIRNetworks(network))),
        )
    )
    assert np.abs(once - twice).max() <= 1


@pytest.mark.parametrize("serve", [serve_serially, serve_in_batches, serve_by_engine])
def test_a_request_that_comes_later_does_not_wait_from_the_start(serve) -> None:
    class Done:
        is_done, failure, steps_done, steps_total, batch_key = True, None, 1, 1, None

    class Ready:
        def begin(self, request):
            return Done()

        def step(self, states):
            pass

        def finish(self, state):
            return None

    requests = make_requests(Subject.TINY, 4, 64, Schedule.FAST)
    arrivals = poisson(requests, 20.0, np.random.default_rng(0))
    assert [each.at for each in arrivals] == sorted(each.at for each in arrivals) and arrivals[0].at > 0
    assert max(serve(Ready(), arrivals)) < arrivals[-1].at
    assert len(serve(Ready(), at_once(requests))) == 4
