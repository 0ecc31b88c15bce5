"""The diffusion decoder on a CUDA device, with real networks at tiny widths: near a CPU's picture, repeatable, and
never worse than a typed error when memory is short. Run by `python -m pytest tests/gpu` where there is one."""

from collections.abc import Iterator
from functools import cache
from typing import cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from codec.decode.diffusion.diffbir import DiffBIRNetworks
from codec.decode.diffusion.graphs import GraphedNetworks
from codec.decode.diffusion.networks import Networks, Stage
from codec.decode.diffusion.restorer import DiffusionRestorer
from codec.decode.restore import RestoreRequest
from codec.errors import OutOfMemory
from codec.nets.diffbir.config import Prediction
from codec.nets.loading.device_config import DeviceConfig
from tests.networks.decode.tiny_networks import ask, quarter_maps, smooth, textured, tiny_network

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

# Mean difference from the CPU's float32 picture, in levels of 255. On a CPU bfloat16 by itself makes 0.6. float32 may
# multiply in TF32, whose steps are an eighth of bfloat16's.
NEAR = {torch.float32: 0.5, torch.bfloat16: 1.5}
SCHEDULES = ["fast", "staged"]


@cache
def restorer(device: str, dtype: torch.dtype) -> DiffusionRestorer:
    # Networks of their own, because moving them would move those of other tests.
    network = tiny_network(Prediction.EPS, zero_terminal_snr=False).to(torch.device(device), dtype)
    return DiffusionRestorer(DiffBIRNetworks(network), tile_px=256)


def request(schedule: str) -> RestoreRequest:
    return ask(textured(128, 128), maps=quarter_maps(), schedule=schedule, res=128)


def painted(by: DiffusionRestorer, asked: RestoreRequest) -> NDArray[np.uint8]:
    return np.asarray(by.finish(by.begin(asked)))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("dtype", NEAR, ids=str)
def test_a_gpu_paints_nearly_what_a_cpu_paints(dtype: torch.dtype, schedule: str) -> None:
    on_cpu = painted(restorer("cpu", torch.float32), request(schedule)).astype(int)
    on_gpu = painted(restorer("cuda", dtype), request(schedule)).astype(int)
    assert np.abs(on_gpu - on_cpu).mean() < NEAR[dtype]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("dtype", NEAR, ids=str)
def test_the_same_request_gives_the_same_bytes_twice(dtype: torch.dtype, schedule: str) -> None:
    first, second = (painted(restorer("cuda", dtype), request(schedule)) for _ in range(2))
    assert np.array_equal(first, second)


def test_requests_that_share_calls_are_near_to_those_that_do_not() -> None:
    by = restorer("cuda", torch.float32)
    together = [by.begin(request("fast")) for _ in range(3)]
    while not all(state.is_done for state in together):
        by.step([state for state in together if not state.is_done])
    alone = painted(by, request("fast")).astype(int)
    for state in together:
        assert np.abs(np.asarray(state.picture) - alone).mean() < NEAR[torch.float32]


@pytest.fixture
def room() -> Iterator[object]:
    """Lets the process have so many bytes more than it holds."""

    def allow(more_bytes: int) -> None:
        torch.cuda.empty_cache()
        _, total = torch.cuda.mem_get_info()
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + more_bytes) / total)

    yield allow
    torch.cuda.set_per_process_memory_fraction(1.0)


def test_running_out_of_the_gpus_memory_is_answered_by_smaller_tiles(room) -> None:
    by = DiffusionRestorer(DiffBIRNetworks(tiny_network(Prediction.EPS, False).to("cuda")), tile_px=1024)
    state = by.begin(ask(smooth(1024, 1024), steps=2, res=1024))
    planned = state.steps_total
    # On a CPU a call with the whole picture takes 570 to 850 MB outside the denoising, one with a quarter up to 250.
    room(400 << 20)
    assert by.finish(state).size == (1024, 1024)
    assert state.steps_done == state.steps_total > planned
    assert state.max_tile_pixels[Stage.DECODE] <= 512 * 512


def test_a_gpu_without_room_is_a_typed_error_and_serves_the_next_request(room) -> None:
    by = restorer("cuda", torch.float32)
    room(1 << 20)
    with pytest.raises(OutOfMemory):
        painted(by, ask(smooth(512, 512), steps=2, res=512))
    room(1 << 30)
    assert painted(by, request("fast")).shape == (128, 128, 3)


def test_auto_takes_the_gpu_in_bfloat16_where_it_has_that() -> None:
    device, dtype = DeviceConfig().resolve()
    assert device.type == "cuda"
    assert dtype == (torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32)


def test_graphs_give_the_pictures_of_plain_calls_for_requests_that_share_them() -> None:
    network = tiny_network(Prediction.EPS, zero_terminal_snr=False).to("cuda")
    plain, graphed = DiffBIRNetworks(network), GraphedNetworks(DiffBIRNetworks(network))
    expected = painted(DiffusionRestorer(plain, tile_px=256), request("fast")).astype(int)
    by = DiffusionRestorer(cast(Networks, graphed), tile_px=256)
    together = [by.begin(request("fast")) for _ in range(3)]
    while not all(state.is_done for state in together):
        by.step([state for state in together if not state.is_done])
    for state in together:
        assert np.abs(np.asarray(state.picture) - expected).mean() < NEAR[torch.float32]


@pytest.mark.parametrize("solver", ["ddpm", "dpmpp-2m", "unipc"])
def test_denoising_never_waits_for_the_device(solver: str) -> None:
    by = restorer("cuda", torch.bfloat16)
    state = by.begin(ask(textured(128, 128), maps=quarter_maps(), res=128, steps=6, solver=solver))
    while state.stage is not Stage.DIFFUSE or state.steps_done < 5:
        by.step([state])
    torch.cuda.set_sync_debug_mode("error")
    try:
        while state.stage is Stage.DIFFUSE and state.steps_total - state.steps_done > 2:
            by.step([state])
            assert state.failure is None
    finally:
        torch.cuda.set_sync_debug_mode("default")
