"""Tiles follow the memory that is there, and running out of it costs smaller tiles or a typed error, never a crash."""

import numpy as np
import pytest
import torch
from tiny_networks import ask, smooth, textured, tiny_networks
from watched_networks import WatchedNetworks

from codec.decode.diffusion import memory
from codec.decode.diffusion.diffbir import DiffBIRNetworks
from codec.decode.diffusion.networks import Stage
from codec.decode.diffusion.preview import LatentColours
from codec.decode.diffusion.restorer import DiffusionRestorer
from codec.decode.restore import RestoreRequest
from codec.errors import OutOfMemory
from codec.nets.diffbir.config import V1
from codec.nets.diffbir.network import DiffBIR

COMPLAINTS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: you tried 99"),
]


@pytest.mark.parametrize("complaint", COMPLAINTS, ids=lambda complaint: type(complaint).__name__)
def test_running_out_is_answered_by_smaller_tiles(complaint: Exception) -> None:
    networks = WatchedNetworks()
    restorer = DiffusionRestorer(networks, tile_px=256)
    networks.too_large_px, networks.complaint = 2 * 192 * 192, complaint
    state = restorer.begin(ask(smooth(256, 256), steps=2))
    networks.calls.clear()
    picture = restorer.finish(state)
    assert picture.size == (256, 256)
    # One sample of 256 x 256 fits, the two of a guided step do not.
    assert networks.shapes(Stage.DECODE) == [(1, 4, 32, 32)]
    assert networks.shapes(Stage.DIFFUSE) == [(2, 4, 16, 16)] * 9 * 2
    assert state.steps_done == state.steps_total == 1 + 1 + 1 + 2 * 9 + 1


def test_when_the_smallest_tile_does_not_fit_that_is_a_typed_error() -> None:
    networks = WatchedNetworks()
    restorer = DiffusionRestorer(networks, tile_px=256)
    networks.too_large_px = 1
    state = restorer.begin(ask(smooth(256, 256), steps=2))
    with pytest.raises(OutOfMemory, match="stage clean") as caught:
        restorer.finish(state)
    assert caught.value.code == "out_of_memory" and state.failure is caught.value
    calls = len(networks.calls)
    restorer.step([state])
    assert len(networks.calls) == calls and not state.is_done, "a request that failed is left as it is"


def test_requests_that_do_not_fit_together_are_served_one_by_one() -> None:
    networks = WatchedNetworks()
    restorer = DiffusionRestorer(networks)
    networks.too_large_px = 2 * 128 * 128 + 1
    states = [restorer.begin(ask(textured(128, 128), steps=2, res=128)) for _ in range(3)]
    while not all(state.is_done for state in states):
        restorer.step(states)
    assert set(networks.shapes(Stage.DIFFUSE)) == {(2, 4, 16, 16)}
    assert [state.steps_done for state in states] == [6, 6, 6]


def test_a_request_that_fails_does_not_hold_up_the_others() -> None:
    networks = WatchedNetworks()
    restorer = DiffusionRestorer(networks, tile_px=64)
    # The smallest tile, 128 x 128, does not fit; the small picture is less than that.
    networks.too_large_px = 128 * 128
    large, small = restorer.begin(ask(smooth(192, 192), steps=2)), restorer.begin(ask(textured(64, 64), steps=2))
    while not small.is_done:
        restorer.step([large, small])
    assert isinstance(large.failure, OutOfMemory) and small.failure is None


def test_an_error_in_a_shared_call_ends_only_the_request_that_causes_it() -> None:
    restorer = DiffusionRestorer(tiny_networks())
    requests = [ask(textured(64, 64, seed=seed), steps=3, seed=seed) for seed in (1, 2, 3)]
    alone = [np.asarray(restorer.finish(restorer.begin(each))).astype(int) for each in requests]
    networks = PoisonedNetworks(poisoned=requests[1])
    restorer = DiffusionRestorer(networks)
    states = [restorer.begin(each) for each in requests]
    while not all(state.is_done or state.failure for state in states):
        restorer.step(states)
    assert [str(state.failure) for state in states] == ["None", "the device met a value it cannot use", "None"]
    for index in (0, 2):
        assert np.abs(np.asarray(restorer.finish(states[index])) - alone[index]).max() <= 1
    with pytest.raises(RuntimeError, match="cannot use"):
        restorer.finish(states[1])


def test_other_errors_are_not_mistaken_for_it() -> None:
    networks = WatchedNetworks()
    restorer = DiffusionRestorer(networks)
    networks.too_large_px, networks.complaint = 1, RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        restorer.finish(restorer.begin(ask(textured(64, 64))))
    assert not memory.is_exhaustion(RuntimeError("mat1"))


def test_a_picture_that_main_memory_cannot_hold_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    restorer = DiffusionRestorer(WatchedNetworks())
    monkeypatch.setattr("codec.decode.diffusion.restorer.free_host_bytes", lambda: 1 << 20)
    with pytest.raises(OutOfMemory, match=r"Restoring 256 x 192 pixels needs 3 MB of main memory; 1 MB"):
        restorer.begin(ask(smooth(150, 256)))


def test_free_memory_is_what_the_machine_and_the_control_group_allow(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pytest.TempPathFactory
) -> None:
    assert 0 < memory.free_bytes(torch.device("cpu")) < 1 << 50
    (tmp_path / "memory.max").write_text("3000\n")
    (tmp_path / "memory.current").write_text("1000\n")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert memory.free_host_bytes() == 2000
    (tmp_path / "memory.stat").write_text("anon 100\nactive_file 300\ninactive_file 200\n")
    assert memory.free_host_bytes() == 2500, "pages of files are given up for whoever needs memory"
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_host_bytes() > 1 << 20


@pytest.fixture(scope="module")
def full_size_network() -> DiffBIR:
    return DiffBIR.hollow(V1)


@pytest.mark.parametrize(("dtype", "edges"), [(torch.float32, (1280, 1024)), (torch.bfloat16, (1536, 1536))])
def test_twelve_megapixels_fit_in_16_gb_at_full_size(
    monkeypatch: pytest.MonkeyPatch, full_size_network: DiffBIR, dtype: torch.dtype, edges: tuple[int, int]
) -> None:
    network = full_size_network.to(dtype)
    weights = sum(each.numel() * each.element_size() for each in network.parameters())
    bytes_per_px = DiffBIRNetworks(network).bytes_per_px
    process = 1 << 30
    free = (16 << 30) - weights - process
    monkeypatch.setattr("codec.decode.diffusion.memory.free_bytes", lambda device: free)
    restorer = DiffusionRestorer(WatchedNetworks(bytes_per_px=bytes_per_px))
    state = restorer.begin(ask(smooth(3024, 4032), res=1024))
    allowed = state.max_tile_pixels
    assert (allowed[Stage.DIFFUSE], allowed[Stage.DECODE]) == tuple(edge**2 for edge in edges)
    largest = max(bytes_per_px[stage] * pixels * (1 + (stage is Stage.DIFFUSE)) for stage, pixels in allowed.items())
    pictures = 64 * 4032 * 3072
    assert weights + process + pictures + largest < 16 << 30


def test_a_fixed_tile_makes_pictures_independent_of_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = []
    for free in (1 << 40, 1 << 20):
        monkeypatch.setattr("codec.decode.diffusion.memory.free_bytes", lambda device, free=free: free)
        restorer = DiffusionRestorer(tiny_networks(), tile_px=128)
        pictures.append(np.asarray(restorer.finish(restorer.begin(ask(smooth(128, 192), steps=2)))))
    assert np.array_equal(*pictures)


class PoisonedNetworks(WatchedNetworks):
    """Fails in every evaluation that has a part of one request's condition in it."""

    def __init__(self, *, poisoned: RestoreRequest) -> None:
        super().__init__()
        picture = torch.from_numpy(poisoned.coarse.transpose(2, 0, 1)[None] / np.float32(255))
        with torch.inference_mode():
            self._poison = self._networks.encode(self._networks.clean(picture))

    def predict(self, noisy, times, texts, condition, strength=1.0, regions=None):
        if any(torch.allclose(sample, self._poison[0], atol=1e-4) for sample in condition):
            raise RuntimeError("the device met a value it cannot use")
        return super().predict(noisy, times, texts, condition, strength, regions)


class _ColourNetworks:
    """An autoencoder whose latents are the average colours in another order, and one channel without meaning."""

    multiple_px, latent_px, latent_channels = 64, 8, 4

    def encode(self, picture: torch.Tensor) -> torch.Tensor:
        colours = torch.nn.functional.avg_pool2d(picture, 8)
        return torch.cat((2 * colours[:, [2, 0, 1]] - 1, torch.zeros_like(colours[:, :1])), dim=1)


def test_previews_have_the_colours_that_latents_stand_for() -> None:
    networks = _ColourNetworks()
    picture = torch.from_numpy(textured(64, 96).transpose(2, 0, 1)[None] / 255.0).float()
    shown = LatentColours.fit(networks).picture(networks.encode(picture))
    averages = torch.nn.functional.avg_pool2d(picture, 8)[0].permute(1, 2, 0).numpy() * 255
    assert shown.shape == (8, 12, 3)
    assert np.abs(shown - averages).max() <= 0.51
