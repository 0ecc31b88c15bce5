"""Train the learned codec of the profile lite for one rate: CompressAI's mbt2018 (Minnen et al., arXiv 1809.02736).

    python -m training.lite_coarse --pictures DIR --rate 3 --run runs/coarse-3 [--from runs/coarse-2] [--minutes 30]

A run goes on where it was stopped. The codec sees pictures at half their size when it is used, and training pictures as
they are, which are about as sharp.
"""

import argparse
import math
import os
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from compressai.models import JointAutoregressiveHierarchicalPriors
from torch import Tensor

from training.lite_start import start_as_wavelet
from training.pictures import Pictures
from training.runs import Run, weights_from

WIDTH = 96
"""Channels of the transforms, and of the latent: 3.5 million weights, 7 MB as float16."""

_EDGE_PX = 128
_BATCH = 8
_MOST_ZOOM = 1.6

_LAMBDAS = {1: 0.0003, 2: 0.00055, 3: 0.001}
"""Weight of the squared error in 8-bit levels against bits a pixel, by rate."""

_FIRST_STEP = 75.0
"""Of the quantiser that training starts with, in 8-bit levels: near the best for rate 3 at high-resolution theory's
slope of bits against squared error, sqrt(6 / (ln 2 lambda))."""

_LEARNING_RATE = 3e-4
_MEDIANS_LEARNING_RATE = 1e-3


def main() -> None:
    """Train until the run is over."""
    parser = argparse.ArgumentParser(prog="python -m training.lite_coarse", description=__doc__)
    parser.add_argument("--pictures", type=Path, required=True, help="folder of training pictures")
    parser.add_argument("--rate", type=int, choices=sorted(_LAMBDAS), required=True)
    parser.add_argument("--run", type=Path, required=True, help="folder of the run; one that exists goes on")
    parser.add_argument("--from", dest="start", type=Path, help="a run's folder, or a released file, to start from")
    parser.add_argument("--weight", type=float, help="replaces the rate's weight of the squared error")
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--batch", type=int, default=_BATCH)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="on the CPU")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.rate)
    network = JointAutoregressiveHierarchicalPriors(WIDTH, WIDTH)
    if arguments.start is None:
        start_as_wavelet(network, _FIRST_STEP)
    else:
        # A released file lacks the tables, which training has no use for.
        network.load_state_dict(weights_from(arguments.start), strict=arguments.start.is_dir())
    network = network.to(device, memory_format=torch.channels_last)
    medians = [value for name, value in network.named_parameters() if name.endswith(".quantiles")]
    others = [value for name, value in network.named_parameters() if not name.endswith(".quantiles")]
    optimisers: dict[str, torch.optim.Optimizer] = {
        "weights": torch.optim.Adam(others, lr=_LEARNING_RATE),
        "medians": torch.optim.Adam(medians, lr=_MEDIANS_LEARNING_RATE),
    }
    run = Run(arguments.run, network, optimisers, arguments.steps, arguments.minutes, seed=arguments.rate)
    pictures = Pictures.under(arguments.pictures, device, _EDGE_PX)
    weight = arguments.weight or _LAMBDAS[arguments.rate]
    while not run.is_over:
        torch.manual_seed(run.step)
        run.before_step()
        windows = pictures.draw(arguments.batch, _EDGE_PX, run.random, _MOST_ZOOM)
        original = pictures.seen(windows, _EDGE_PX).contiguous(memory_format=torch.channels_last)
        bits, rebuilt = looked_at(network, original)
        bpp = bits / original[:, :1].numel()
        error = F.mse_loss(rebuilt, original)
        for optimiser in optimisers.values():
            optimiser.zero_grad(set_to_none=True)
        (bpp + weight * 255**2 * error).backward()
        network.aux_loss().backward()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        for optimiser in optimisers.values():
            optimiser.step()
        run.after_step(bpp=bpp.item(), psnr=-10 * math.log10(error.item()))


def looked_at(network: JointAutoregressiveHierarchicalPriors, original: Tensor) -> tuple[Tensor, Tensor]:
    """The bits that (B, 3, H, W) pictures cost, and the pictures that come back.

    Bits are those of latents with uniform noise; the synthesis sees rounded ones, whose gradient passes straight
    through, because that is what it will see (Minnen and Singh, arXiv 2007.08739). Only the two transforms run in
    bfloat16, where the device computes in it; probabilities would suffer.
    """
    with torch.autocast(original.device.type, torch.bfloat16):
        latent = network.g_a(original)
    latent = latent.float()
    hyper = network.h_a(latent)
    _, hyper_likelihoods = network.entropy_bottleneck(hyper)
    medians = network.entropy_bottleneck.quantiles[:, 0, 1].detach()[None, :, None, None]
    parameters = network.h_s(_rounded(hyper - medians) + medians)
    noisy = latent + torch.empty_like(latent).uniform_(-0.5, 0.5)
    context = network.context_prediction(noisy)
    scales, means = network.entropy_parameters(torch.cat((parameters, context), dim=1)).chunk(2, 1)
    _, likelihoods = network.gaussian_conditional(latent, scales, means=means)
    with torch.autocast(original.device.type, torch.bfloat16):
        rebuilt = network.g_s(_rounded(latent - means) + means)
    bits = -(likelihoods.log2().sum() + hyper_likelihoods.log2().sum())
    return bits, rebuilt.float()


def _rounded(values: Tensor) -> Tensor:
    return values + (values.round() - values).detach()


if __name__ == "__main__":
    main()
