"""What makes a step fast on a GPU, held on tiny networks to what it must not change: graphs, skipped guidance, and no
call that waits for the device."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tiny_networks import ask, quarter_maps, textured, tiny_network, tiny_networks
from torch.utils._python_dispatch import TorchDispatchMode
from watched_networks import WatchedNetworks

from codec.decode.diffusion.diffbir import DiffBIRNetworks
from codec.decode.diffusion.graphs import Call, GraphedNetworks, Tensors
from codec.decode.diffusion.networks import Stage
from codec.decode.diffusion.passes import Pass
from codec.decode.diffusion.restorer import DiffusionRestorer
from codec.decode.diffusion.state import DiffusionState
from codec.nets.diffbir.config import Prediction
from codec.options import Solver

RNG = np.random.default_rng(6)


def captured(call: Call, inputs: Tensors) -> Callable[[], torch.Tensor]:
    """As a CUDA graph behaves: reads its own inputs, and writes its one output over at each replay."""
    output = call(inputs)

    def _replay() -> torch.Tensor:
        return output.copy_(call(inputs))

    return _replay


MIX = ((1, 1), (2, 1), (2, 1), (3, 4), (4, 4), (3, 4), (6, 1), (5, 1), (8, 1), (2, 1))
"""Samples and texts of calls that follow each other."""


def inputs(samples: int, texts: int, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    draw = torch.from_numpy(RNG.standard_normal((samples, 8, 16, 16))).to(dtype)
    regions = torch.from_numpy(RNG.dirichlet(np.ones(texts), (samples, 16, 16))).permute(0, 3, 1, 2).float()
    return {
        "noisy": draw[:, :4],
        "condition": draw[:, 4:],
        "times": torch.from_numpy(RNG.integers(0, 1000, samples)),
        "texts": torch.from_numpy(RNG.standard_normal((samples, texts, 77, 32))).to(dtype),
        "regions": regions if texts > 1 else None,
    }


# Processors that only imitate bfloat16 take long over it.
@pytest.mark.parametrize(
    ("dtype", "most", "mix"),
    [(torch.float32, 1e-4, MIX), (torch.bfloat16, 2e-2, ((2, 1),) * 3)],
    ids=["float32", "bfloat16"],
)
def test_replayed_calls_give_what_calls_give_whatever_was_replayed_before(
    dtype: torch.dtype, most: float, mix: tuple[tuple[int, int], ...]
) -> None:
    with torch.inference_mode():
        plain = DiffBIRNetworks(tiny_network(Prediction.EPS, zero_terminal_snr=False).to(dtype))
        graphed = GraphedNetworks(plain, captured)
        pairs = []
        for samples, texts in mix:
            asked = inputs(samples, texts, dtype)
            pairs.append((graphed.predict(**asked), plain.predict(**asked)))
        # Outputs are looked at after all replays, which must not have written over them.
        for ours, expected in pairs:
            assert ours.shape == expected.shape
            assert (ours - expected).abs().max() <= most * max(1.0, float(expected.abs().max()))


def test_a_graph_that_finds_no_memory_gives_all_up_and_comes_back() -> None:
    captures: list[int] = []

    def _capture(call: Call, given: Tensors) -> Callable[[], torch.Tensor]:
        captures.append(len(given[0]))
        if len(captures) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return captured(call, given)

    graphed = GraphedNetworks(tiny_networks(), _capture)
    with torch.inference_mode():
        for samples in (2, 2, 4):
            graphed.predict(**inputs(samples, 1))
        with pytest.raises(torch.OutOfMemoryError):
            graphed.predict(**inputs(4, 1))
        graphed.predict(**inputs(2, 1))
    assert captures == [2, 4, 2]


def test_pictures_of_graphed_networks_are_those_of_plain_ones() -> None:
    requests = [
        ask(textured(64, 64, 1), steps=4),
        ask(textured(64, 64, 2), steps=5, seed=3),
        ask(textured(64, 64), steps=4, maps=quarter_maps()),
    ]
    plain = DiffusionRestorer(tiny_networks())
    alone = [np.asarray(plain.finish(plain.begin(each))).astype(int) for each in requests]
    graphed: Any = GraphedNetworks(tiny_networks(), captured)
    by = DiffusionRestorer(graphed)
    states = [by.begin(each) for each in requests]
    while not all(state.is_done for state in states):
        by.step(states)
    for state, expected in zip(states, alone, strict=True):
        assert np.abs(np.asarray(state.picture) - expected).max() <= 1


def test_steps_without_guidance_evaluate_the_guided_half_alone() -> None:
    watched = WatchedNetworks()
    by = DiffusionRestorer(watched)
    by.finish(by.begin(ask(textured(128, 128), res=128, steps=6, guidance_from=700, guidance_to=200)))
    samples = [shape[0] for shape in watched.shapes(Stage.DIFFUSE)]
    # The fast schedule's six steps are at 999, 812, 676, 545, 380 and 197.
    assert samples == [1, 1, 2, 2, 2, 1]


def test_an_interval_of_all_levels_changes_nothing_and_one_of_none_is_guidance_1() -> None:
    by = DiffusionRestorer(tiny_networks())

    def _painted(**options: object) -> np.ndarray:
        return np.asarray(by.finish(by.begin(ask(textured(128, 128), res=128, steps=3, **options))))

    assert np.array_equal(_painted(guidance_from=1000, guidance_to=0), _painted())
    assert np.array_equal(_painted(guidance_from=0, guidance_to=1000), _painted(guidance=1))
    assert not np.array_equal(_painted(guidance_from=500), _painted())


def test_guidance_that_is_1_at_a_level_needs_no_unguided_half() -> None:
    grown = Pass(("",), 4, 7.0, Solver.EULER, rescales_guidance=True)
    assert [grown.guidance_at(time) == 1 for time in (999, 500, 0)] == [True, False, False]


class _Waits(TorchDispatchMode):
    """Notes what would make a processor wait for its device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = str(func)
        if any(word in name for word in ("_local_scalar_dense", "nonzero", "is_nonzero", "equal.default")):
            self.found.append(name)
        to = torch.device(kwargs.get("device") or args[0].device) if "_to_copy" in name else None
        if to is not None and to.type != args[0].device.type and not kwargs.get("non_blocking"):
            self.found.append(f"{name} from {args[0].device} to {to}")
        if "copy_.default" in name and args[0].device != args[1].device and not (len(args) > 2 and args[2]):
            self.found.append(f"{name} from {args[1].device} to {args[0].device}")
        return func(*args, **kwargs)


class _Elsewhere:
    """Networks on a device that has no values, behind which anybody who asks for one would have to wait."""

    device = torch.device("meta")

    def __getattr__(self, name: str) -> object:
        return getattr(tiny_networks(), name)

    def embed(self, texts: Any) -> torch.Tensor:
        return torch.empty(len(texts), 77, 32, device="meta")

    def encode(self, picture: torch.Tensor) -> torch.Tensor:
        return torch.empty(1, 4, picture.shape[2] // 8, picture.shape[3] // 8, device="meta")

    def predict(self, noisy: torch.Tensor, *_: Any) -> torch.Tensor:
        return torch.empty_like(noisy)


@pytest.mark.parametrize("solver", list(Solver))
@pytest.mark.parametrize("tile_px", [64, 256], ids=["tiled", "whole"])
def test_denoising_never_waits_for_the_device(solver: Solver, tile_px: int) -> None:
    elsewhere: Any = _Elsewhere()
    colours, by = None, DiffusionRestorer(tiny_networks(), tile_px=tile_px)
    template = by.begin(ask(textured(192, 128), res=128, steps=4, solver=str(solver), maps=quarter_maps()))
    state = DiffusionState(
        template._request, template._passes, template._size, elsewhere, colours, template.max_tile_pixels
    )
    by._networks = elsewhere
    while state.stage is not Stage.DIFFUSE:
        by.step([state])
        assert state.failure is None
    steps = 0
    with _Waits() as waits:
        while state.stage is Stage.DIFFUSE:
            by.step([state])
            steps += 1
            assert state.failure is None
    assert steps >= 4
    assert waits.found == []
