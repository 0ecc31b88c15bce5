"""Train stage 1 of lite: a GAN-trained network from coarse pictures to pictures that look like photographs.

    python -m training.lite_stage1 --pictures DIR --perceptual FILE --run runs/stage1 --minutes 600 --teacher FILE

It begins with Real-ESRGAN's network, of which it keeps some blocks, on the picture reduced to a quarter, and learns to
use the detail that the reduction throws away.
"""

import argparse
import math
import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from codec.metrics.perceptual_weights import load_perceptual_arrays
from codec.nets.lite.rrdbnet import REDUCTION, RRDBNet
from codec.nets.loading.device_config import multiplies_bfloat16
from training.lite_stage1_loss import (
    LEAST_EDGE_PX,
    Discriminator,
    Stage1Loss,
    Weights,
    discriminator_loss,
    generator_loss,
    unit,
)
from training.lite_stage1_pictures import CoarsePairs
from training.lite_stage1_teacher import network_of_teacher, tail_of, trunk_above
from training.runs import Run, weights_from

_RATE, _TRUNK_RATE, _JUDGE_RATE = 1e-4, 3e-5, 2e-4
"""Of Adam. The trunk knows its matter from the teacher, and forgets it at a higher rate."""

_BATCH, _EDGE_PX = 2, 160

_SHIFT_PX = 8
"""VGG16 sees windows shifted by less than this at random. Its poolings would otherwise lie on the network's own grid at
every step, and what repeats in step with both would never be punished."""


class Pair(nn.Module):
    """The network and its adversary, which a run keeps together."""

    def __init__(self, restorer: RRDBNet) -> None:
        super().__init__()
        self.restorer = restorer
        self.discriminator = Discriminator()


def main() -> None:
    """Train until the run is over."""
    parser = argparse.ArgumentParser(prog="python -m training.lite_stage1", description=__doc__)
    parser.add_argument("--pictures", type=Path, required=True, help="folder of training pictures")
    parser.add_argument("--cache", type=Path, required=True, help="folder of their coarse forms, made where missing")
    parser.add_argument("--perceptual", type=Path, help="weights of LPIPS and DISTS (.npz)")
    parser.add_argument("--run", type=Path, required=True, help="folder of the run; one that exists goes on")
    parser.add_argument("--teacher", type=Path, required=True, help="Real-ESRGAN x4plus (.safetensors)")
    parser.add_argument("--frozen", type=int, default=0, help="blocks that stay the teacher's, with all before them")
    parser.add_argument("--from", dest="start", type=Path, help="another run, or a released file, to begin with")
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--batch", type=int, default=_BATCH)
    parser.add_argument("--edge", type=int, default=_EDGE_PX, help="of the windows, in pixels")
    parser.add_argument("--rate", type=float, default=_RATE, help="learning rate of what follows the blocks")
    parser.add_argument("--trunk-rate", type=float, default=_TRUNK_RATE, help="learning rate of the blocks")
    for name, value in vars(Weights()).items():
        parser.add_argument(f"--{name}", type=float, default=value, help=f"weight of the part {name}")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="on the CPU")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    if arguments.edge < LEAST_EDGE_PX + _SHIFT_PX or arguments.edge % REDUCTION:
        parser.error(f"--edge: a multiple of {REDUCTION} from {LEAST_EDGE_PX + _SHIFT_PX} on")
    device = torch.device(arguments.device)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    pair = Pair(network_of_teacher(arguments.teacher))
    if arguments.start is not None:
        begun = weights_from(arguments.start)
        # A released file has no discriminator beside the network.
        (pair if arguments.start.is_dir() else pair.restorer).load_state_dict(begun)
    pair.to(device).to(memory_format=torch.channels_last)
    optimisers: dict[str, torch.optim.Optimizer] = {
        "trunk": _adam(trunk_above(pair.restorer, arguments.frozen), arguments.trunk_rate),
        "tail": _adam(tail_of(pair.restorer), arguments.rate),
        "discriminator": _adam(list(pair.discriminator.parameters()), _JUDGE_RATE),
    }
    run = Run(arguments.run, pair, optimisers, arguments.steps, arguments.minutes, seed=0, log_every=20)
    weights = Weights(**{name: getattr(arguments, name) for name in vars(Weights())})
    loss = Stage1Loss(load_perceptual_arrays(arguments.perceptual), weights).to(device)
    pairs = CoarsePairs(arguments.pictures, arguments.cache, arguments.edge, multiple_px=REDUCTION)
    while not run.is_over:
        run.before_step()
        coarse, original = (each.to(device) for each in pairs.draw(arguments.batch, run.random))
        run.after_step(**_step(pair, optimisers, loss, coarse, original, run.random))


def _step(
    pair: Pair, optimisers: dict[str, torch.optim.Optimizer], loss: Stage1Loss, coarse: Tensor, original: Tensor,
    random: np.random.Generator,
) -> dict[str, float]:  # fmt: skip
    """One step of the network, and one of its adversary on the same pictures."""
    with torch.autocast(coarse.device.type, torch.bfloat16, enabled=multiplies_bfloat16(coarse.device)):
        top, left = (int(each) for each in random.integers(_SHIFT_PX, size=2))
        restored, original = (
            each[:, :, top : each.shape[2] - _SHIFT_PX + top, left : each.shape[3] - _SHIFT_PX + left]
            for each in (pair.restorer(coarse).float(), original)
        )
        with torch.no_grad():
            real = loss.taps(original)
        taps = loss.taps(restored)
    pair.discriminator.requires_grad_(False)
    parts = loss.parts(restored, original, taps, real)
    parts["adversarial"] = generator_loss(pair.discriminator(unit(taps)))
    for name in ("trunk", "tail"):
        optimisers[name].zero_grad(set_to_none=True)
    loss.weighted(parts).backward()
    torch.nn.utils.clip_grad_norm_(pair.restorer.parameters(), 1.0)
    for name in ("trunk", "tail"):
        optimisers[name].step()
    pair.discriminator.requires_grad_(True)
    scores = [pair.discriminator(unit([tap.detach() for tap in each])) for each in (real, taps)]
    judged = discriminator_loss(*scores)
    optimisers["discriminator"].zero_grad(set_to_none=True)
    judged.backward()
    optimisers["discriminator"].step()
    values = {name: part.item() for name, part in parts.items()}
    return values | {"discriminator": judged.item(), "psnr": -10 * math.log10(F.mse_loss(restored, original).item())}


def _adam(parameters: list[Tensor], rate: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.99), weight_decay=0.0, fused=True)


if __name__ == "__main__":
    main()
