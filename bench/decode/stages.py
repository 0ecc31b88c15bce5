"""Seconds and memory of the diffusion restorer with networks of the full size, whose weights are random.

    python -m bench.decode [--device cuda] [--size 512 1024] [--dtype bfloat16 float32] [--tiny] [--json FILE]

On a GPU: seconds a picture for both schedules. On the CPU, where a picture takes many minutes, each stage once: seconds
and how far the process's memory grows. `--tiny` does the whole of it with small networks anywhere.
"""

import argparse
import ctypes
import gc
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from codec.bitstream.stream import Texts
from codec.decode.diffusion.diffbir import DiffBIRNetworks
from codec.decode.diffusion.networks import Stage
from codec.decode.diffusion.restorer import DiffusionRestorer
from codec.decode.restore import RestoreRequest
from codec.nets.diffbir.config import V1, DiffBIRConfig, SwinIRConfig, TextConfig, UNetConfig, VAEConfig
from codec.nets.diffbir.network import DiffBIR
from codec.options import DecodeOptions, RestorerName, Schedule

_TINY = DiffBIRConfig(
    UNetConfig(width=32, layers=1, head_width=16, context_width=64),
    VAEConfig(width=32, layers=1),
    TextConfig(width=64, heads=4, layers=3),
    SwinIRConfig(width=24, depths=(2, 2), heads=(2, 2)),
)

_TEXTS = Texts(
    ("a red wooden door with a brass handle", "an old clock above the door", "a cat asleep on the steps"),
    "A narrow street of whitewashed houses by the sea on a clear winter morning, seen from the middle of the road.",
)

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


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


def request(size: int, schedule: Schedule, steps: int | None = None) -> RestoreRequest:
    """A soft random picture of `size` x `size` with three items."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (size // 32, size // 32, 3), dtype=np.uint8).repeat(32, axis=0).repeat(32, axis=1)
    maps = tuple(np.eye(8, k=offset, dtype=np.uint8) for offset in (-3, 0, 3))
    options = DecodeOptions(restorer=RestorerName.DIFFUSION, schedule=schedule, res=size, steps=steps)
    return RestoreRequest(coarse, _TEXTS, maps, options, seed=1)


def whole_pictures(restorer: DiffusionRestorer, device: torch.device, size: int) -> list[dict[str, Any]]:
    """One row a schedule: seconds of a second picture, after a first that warms everything up."""
    rows = []
    for schedule in Schedule:
        restorer.finish(restorer.begin(request(size, schedule, steps=2)))
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        begun = time.perf_counter()
        state = restorer.begin(request(size, schedule))
        restorer.finish(state)
        seconds = time.perf_counter() - begun
        peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
        stages = {str(stage): round(spent, 3) for stage, spent in state.seconds.items()}
        rows.append({"size": size, "schedule": str(schedule), "seconds": seconds, "stages": stages, "peak_bytes": peak})
    return rows


def single_stages(networks: DiffBIRNetworks, size: int) -> list[dict[str, Any]]:
    """One row a stage on the CPU: seconds of one call at `size` x `size`, and by how many bytes memory grew in it."""
    picture = torch.rand(1, 3, size, size)
    latent = torch.randn(1, networks.latent_channels, size // networks.latent_px, size // networks.latent_px)
    with torch.inference_mode():
        vectors = networks.embed([_TEXTS.overall, ""])[:, None]
        twice, times = latent.expand(2, -1, -1, -1), torch.full((2,), 500)
        calls: dict[Stage, tuple[int, Callable[[], torch.Tensor]]] = {
            Stage.CLEAN: (1, lambda: networks.clean(picture)),
            Stage.ENCODE: (1, lambda: networks.encode(picture)),
            Stage.DIFFUSE: (2, lambda: networks.predict(twice, times, vectors, twice)),
            Stage.DECODE: (1, lambda: networks.decode(latent)),
        }
        rows = []
        for stage, (samples, call) in calls.items():
            before = _fresh_memory_bytes()
            begun = time.perf_counter()
            finite = bool(call().isfinite().all())
            seconds = time.perf_counter() - begun
            grown = _status_bytes("VmHWM") - before
            rows.append(
                {
                    "size": size,
                    "stage": str(stage),
                    "seconds": seconds,
                    "grown_bytes": grown,
                    "values_per_px": grown / (size * size * samples * 4),
                    "finite": finite,
                }
            )
    return rows


def _fresh_memory_bytes() -> int:
    """The memory that is really held, after everything that was only kept for later has been given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    # Writing 5 sets the process's high-water mark back to what it holds now (proc(5)).
    _CLEAR.write_text("5")
    return _status_bytes("VmRSS")


def _status_bytes(field: str) -> int:
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return int(lines[field].split()[0]) * 1024


def main() -> None:
    """Print tables, and write them as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", type=int, nargs="+")
    parser.add_argument("--dtype", nargs="+", choices=["bfloat16", "float16", "float32"])
    parser.add_argument("--tiny", action="store_true", help="small networks")
    parser.add_argument("--json", type=Path, metavar="FILE")
    chosen = parser.parse_args()
    device = torch.device(chosen.device)
    on_gpu = device.type == "cuda"
    sizes = chosen.size or ([128] if chosen.tiny else [512, 1024] if on_gpu else [512])
    config = _TINY if chosen.tiny else V1
    rows = []
    for name in chosen.dtype or (["bfloat16", "float32"] if on_gpu else ["float32"]):
        network = random_network(config, device, getattr(torch, name))
        networks = DiffBIRNetworks(network)
        weights = sum(each.numel() * each.element_size() for each in network.parameters())
        print(f"{name} on {device}: weights {weights / 2**20:.0f} MB")
        for size in sizes:
            if on_gpu or chosen.tiny:
                found = whole_pictures(DiffusionRestorer(networks), device, size)
            else:
                found = single_stages(networks, size)
            for row in found:
                row["dtype"] = name
                print("  " + "  ".join(f"{key} {_shown(value)}" for key, value in row.items() if key != "dtype"))
            rows += found
        del network, networks
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=2) + "\n")


def _shown(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
