"""Each stage of the diffusion restorer once: seconds of one call, and the values that live in it for each pixel."""

import time
from collections.abc import Callable
from typing import Any

import torch

from bench.decode.arithmetic import wait_for
from bench.decode.memory import peak_memory
from bench.decode.subject import TEXTS, Precision, Subject, random_network
from codec.decode.diffusion.diffbir import DiffBIRNetworks
from codec.decode.diffusion.networks import Stage


def measure_stages(subject: Subject, precision: Precision, size: int) -> list[dict[str, Any]]:
    """One row a stage: a call at `size` x `size`, and by how many bytes memory grew in it."""
    device = precision.device
    networks = DiffBIRNetworks(random_network(subject.config, device, precision.dtype))
    picture = torch.rand(1, 3, size, size, device=device)
    latent = torch.randn(1, networks.latent_channels, size // networks.latent_px, size // networks.latent_px)
    latent = latent.to(device)
    rows = []
    with torch.inference_mode():
        vectors = networks.embed([TEXTS.overall, ""])[:, None]
        twice, times = latent.expand(2, -1, -1, -1), torch.full((2,), 500, device=device)
        calls: dict[Stage, tuple[int, Callable[[], torch.Tensor]]] = {
            Stage.CLEAN: (1, lambda: networks.clean(picture)),
            Stage.ENCODE: (1, lambda: networks.encode(picture)),
            Stage.DIFFUSE: (2, lambda: networks.predict(twice, times, vectors, twice)),
            Stage.DECODE: (1, lambda: networks.decode(latent)),
        }
        for stage, (samples, call) in calls.items():
            with peak_memory(device) as peak:
                begun = time.perf_counter()
                finite = bool(call().isfinite().all())
                wait_for(device)
                seconds = time.perf_counter() - begun
            values = peak.grown_bytes / (size * size * samples * precision.dtype.itemsize)
            rows.append(
                {
                    "size": size,
                    "dtype": precision.dtype_name,
                    "stage": str(stage),
                    "seconds": seconds,
                    "grown_bytes": peak.grown_bytes,
                    "values_per_px": values,
                    "finite": finite,
                }
            )
    return rows
