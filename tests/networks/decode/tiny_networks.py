"""Real networks at tiny widths with random weights, and requests to restore by them."""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from codec.bitstream.stream import Texts
from codec.decode.diffusion.diffbir import DiffBIRNetworks
from codec.decode.restore import RestoreRequest
from codec.nets.diffbir.config import DiffBIRConfig, Prediction, SwinIRConfig, TextConfig, UNetConfig, VAEConfig
from codec.nets.diffbir.network import DiffBIR
from codec.options import DecodeOptions

# At these widths threads wait for each other longer than they work. A fixed number also fixes the sums' order.
torch.set_num_threads(1)

TINY = {
    "unet": UNetConfig(width=32, multipliers=(1, 1, 1, 1), layers=1, head_width=16, context_width=32),
    "vae": VAEConfig(width=32, multipliers=(1, 1, 1, 1), layers=1),
    "text": TextConfig(width=32, heads=2, layers=2),
    "stage1": SwinIRConfig(width=24, depths=(2,), heads=(2,)),
}

TEXTS = Texts(("a red door", "an old clock", "a sleeping cat"), "a house by the sea in winter")


def tiny_network(prediction: Prediction, zero_terminal_snr: bool) -> DiffBIR:
    """DiffBIR, all of whose parts do something: no convolution is left at zero."""
    torch.manual_seed(5)
    network = DiffBIR(DiffBIRConfig(**TINY, prediction=prediction, zero_terminal_snr=zero_terminal_snr))
    return network.eval().requires_grad_(False)


@cache
def tiny_networks() -> DiffBIRNetworks:
    """The restorer's networks, made once: also for tests that take gradients, whoever asks for them first."""
    with torch.inference_mode(False):
        return DiffBIRNetworks(tiny_network(Prediction.EPS, zero_terminal_snr=False))


def textured(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: waves of several lengths and some noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 16
    waves = np.stack([np.sin(x + 0.5 * channel) * np.cos(1.3 * y - channel) for channel in range(3)], axis=2)
    return (128 + 70 * waves + rng.normal(scale=20, size=waves.shape)).clip(0, 255).astype(np.uint8)


def smooth(height: int, width: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: one gradient across the picture."""
    y, x = np.mgrid[:height, :width]
    planes = [60 + 120 * x / width, 200 - 100 * y / height, 90 + 60 * (x + y) / (width + height)]
    return np.stack(planes, axis=2).astype(np.uint8)


def quarter_maps() -> tuple[NDArray[np.uint8], ...]:
    """Three 8 x 8 maps, each of another quarter."""
    maps = np.zeros((3, 8, 8), np.uint8)
    maps[0, :4, :4] = maps[1, :4, 4:] = maps[2, 4:, :4] = 1
    return tuple(maps)


def ask(
    picture: NDArray[np.uint8],
    *,
    texts: Texts = TEXTS,
    maps: tuple[NDArray[np.uint8], ...] = (),
    seed: int = 7,
    **options: object,
) -> RestoreRequest:
    """A request for the diffusion restorer; small working size unless `options` say otherwise."""
    values = {"restorer": "diffusion", "res": 64, **options}
    return RestoreRequest(picture, texts, maps, DecodeOptions.model_validate(values), seed)
