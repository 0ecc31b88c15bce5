"""How much arithmetic a picture is, and how much a device can do: what a share of its ceiling is made of."""

import statistics
import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.decode.subject import Subject
from codec.decode.diffusion.diffbir import DiffBIRNetworks
from codec.decode.diffusion.passes import Pass, plan_passes
from codec.decode.restore import Restorer, RestoreRequest
from codec.nets.diffbir.network import DiffBIR
from codec.working_size import WorkingSize

_EDGES = {"cuda": 8192, "cpu": 1024}
"""Of the square matrices: large enough that a product is all arithmetic, small enough to take little time."""

_PRODUCTS, _ROUNDS = 10, 5


def matmul_ceiling(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of the largest dense products, the best of a few rounds' median."""
    edge = _EDGES.get(device.type, 1024)
    left, right = (torch.randn(edge, edge, device=device).to(dtype) for _ in range(2))

    def _multiply() -> None:
        for _ in range(_PRODUCTS if device.type == "cuda" else 1):
            torch.mm(left, right)
        wait_for(device)

    _multiply()
    seconds = [_seconds(_multiply) for _ in range(_ROUNDS)]
    products = _PRODUCTS if device.type == "cuda" else 1
    return 2 * edge**3 * products / statistics.median(seconds)


def picture_flops(subject: Subject, restorer: Restorer, request: RestoreRequest) -> int:
    """Floating-point operations of all network calls of a picture that is one tile, a multiplication and an addition
    as two. Random networks are asked without values (on the device meta), those of lite once for real."""
    if subject is Subject.LITE:
        return _flops(lambda: restorer.finish(restorer.begin(request)))
    networks = DiffBIRNetworks(DiffBIR.hollow(subject.config))
    return sum(_pass_flops(each, networks, request) for each in plan_passes(request, networks.sampling))


def wait_for(device: torch.device) -> None:
    """Until the device has done all that it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _pass_flops(planned: Pass, networks: DiffBIRNetworks, request: RestoreRequest) -> int:
    height, width = request.coarse.shape[:2]
    size = WorkingSize.of(width, height, request.options.res or networks.res_px, networks.multiple_px)
    rows, columns = size.padded_height // networks.latent_px, size.padded_width // networks.latent_px
    samples, texts = 1 if planned.guidance == 1 else 2, len(planned.texts)
    picture = torch.empty(1, 3, size.padded_height, size.padded_width, device="meta")
    latents = torch.empty(samples, networks.latent_channels, rows, columns, device="meta")
    regions = torch.empty(samples, texts, rows, columns, device="meta") if planned.regions else None
    vectors = networks.embed(planned.texts)[None].expand(samples, -1, -1, -1)
    times = torch.empty(samples, device="meta")
    ends = _flops(lambda: (networks.encode(networks.clean(picture)), networks.decode(latents[:1])))
    step = _flops(lambda: networks.predict(latents, times, vectors, latents, 1.0, regions))
    return ends + planned.steps * step


def _flops(call: Callable[[], object]) -> int:
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def _seconds(call: Callable[[], None]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun
