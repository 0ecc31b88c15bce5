"""What is measured: a set of networks on a device, as a way of decoding uses it, and requests for it."""

import math
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

import numpy as np
import torch

from cli.local.paths import weights_store
from codec.bitstream.stream import Texts
from codec.decode.diffusion.diffbir import DiffBIRNetworks
from codec.decode.diffusion.graphs import GraphedNetworks
from codec.decode.diffusion.networks import Networks
from codec.decode.diffusion.restorer import DiffusionRestorer
from codec.decode.restore import Restorer, RestoreRequest
from codec.decode.restorers import Restorers
from codec.nets.diffbir.config import V1, DiffBIRConfig, SwinIRConfig, TextConfig, UNetConfig, VAEConfig
from codec.nets.diffbir.network import DiffBIR
from codec.nets.loading.device_config import DeviceConfig
from codec.options import DecodeOptions, RestorerName, Schedule

_TINY = DiffBIRConfig(
    UNetConfig(width=32, layers=1, head_width=16, context_width=64),
    VAEConfig(width=32, layers=1),
    TextConfig(width=64, heads=4, layers=3),
    SwinIRConfig(width=24, depths=(2, 2), heads=(2, 2)),
)

TEXTS = Texts(
    ("a red wooden door with a brass handle", "an old clock above the door", "a cat asleep on the steps"),
    "A narrow street of whitewashed houses by the sea on a clear winter morning, seen from the middle of the road.",
)


class Subject(StrEnum):
    """A set of networks."""

    FULL = "full"
    """DiffBIR over Stable Diffusion 2.1 at its published widths, with random weights."""
    TINY = "tiny"
    """The same wiring at widths that a processor manages, with random weights."""
    LITE = "lite"
    """What comes with the program, restored by its default restorer."""

    @property
    def config(self) -> DiffBIRConfig:
        """The dimensions of random networks."""
        return _TINY if self is Subject.TINY else V1


@dataclass(frozen=True)
class Precision:
    """Where the networks run, of which type they are, and whether guided and unguided halves are two calls."""

    device: torch.device
    dtype: torch.dtype
    splits_halves: bool = False
    is_compiled: bool = False
    is_graphed: bool = False

    @property
    def dtype_name(self) -> str:
        """As in settings."""
        return str(self.dtype).removeprefix("torch.")


def random_network(config: DiffBIRConfig, device: torch.device, dtype: torch.dtype) -> DiffBIR:
    """Networks whose random weights keep the variance of what passes through them, so that no value overflows."""
    network = DiffBIR.hollow(config)
    generator = torch.Generator(device).manual_seed(0)
    tensors = {}
    for name, hollow in network.state_dict().items():
        tensor = torch.zeros(hollow.shape, device=device, dtype=dtype)
        if tensor.ndim > 1:
            bound = math.sqrt(3 / max(1, tensor[0].numel()))
            tensor.uniform_(-bound, bound, generator=generator)
        elif name.endswith("weight"):
            tensor.fill_(1)
        tensors[name] = tensor
    network.fill(tensors)
    network.text.embeddings.position_ids = network.text.embeddings.position_ids.to(device)
    return network


def make_restorer(subject: Subject, precision: Precision, open_until: ExitStack) -> Restorer:
    """A restorer for requests of the subject, usable until the stack is closed."""
    if subject is Subject.LITE:
        config = DeviceConfig(str(precision.device), precision.dtype_name, precision.is_compiled)
        options = DecodeOptions(restorer=RestorerName.GAN)
        return open_until.enter_context(Restorers(weights_store(), config).use(options))
    network = random_network(subject.config, precision.device, precision.dtype)
    if precision.device.type == "cuda":
        network.to(memory_format=torch.channels_last)
    if precision.is_compiled:
        for part in (network.unet, network.control):
            part.compile(dynamic=True)
    networks: Networks = DiffBIRNetworks(network)
    if precision.splits_halves:
        networks = cast(Networks, SplitHalves(networks))
    elif precision.is_graphed:
        networks = cast(Networks, GraphedNetworks(networks))
    return DiffusionRestorer(networks)


def make_requests(
    subject: Subject, count: int, size: int, schedule: Schedule, steps: int | None = None
) -> list[RestoreRequest]:
    """Soft random pictures of `size` x `size`, each with three items and a seed of its own."""
    rng = np.random.default_rng(0)
    restorer = RestorerName.GAN if subject is Subject.LITE else RestorerName.DIFFUSION
    options = DecodeOptions(restorer=restorer, schedule=schedule, res=size, steps=steps)
    maps = tuple(np.eye(8, k=offset, dtype=np.uint8) for offset in (-3, 0, 3))
    blocks = [rng.integers(0, 256, (-(-size // 32), -(-size // 32), 3), dtype=np.uint8) for _ in range(count)]
    return [
        RestoreRequest(each.repeat(32, axis=0).repeat(32, axis=1)[:size, :size], TEXTS, maps, options, seed)
        for seed, each in enumerate(blocks)
    ]


class SplitHalves:
    """Networks that are called once for each sample, as the published decoder calls them."""

    def __init__(self, networks: Networks) -> None:
        self._networks = networks

    def __getattr__(self, name: str) -> object:
        return getattr(self._networks, name)

    def predict(
        self,
        noisy: torch.Tensor,
        times: torch.Tensor,
        texts: torch.Tensor,
        condition: torch.Tensor,
        strength: float = 1.0,
        regions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """One call for each sample."""
        samples = [slice(index, index + 1) for index in range(len(noisy))]
        return torch.cat(
            [
                self._networks.predict(
                    noisy[one],
                    times[one],
                    texts[one],
                    condition[one],
                    strength,
                    None if regions is None else regions[one],
                )
                for one in samples
            ]
        )
