"""Train the restorer of the profile lite on what AVIF makes of the training pictures.

    python -m training.lite_restorer --pictures DIR --descriptions FILE --sqz FILE --run runs/restorer [--minutes 60]

Most of the time it learns the one look that the fast schedule takes, from the coarse picture with noise to the
original; otherwise to look from anywhere on the way, so that more steps and other solvers work too. The loss is in
`lite_loss.py`. A run goes on where it was stopped.
"""

import argparse
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from codec.decode.diffusion.ddpm import training_signal
from codec.decode.diffusion.passes import region_weights
from codec.decode.diffusion.regions import fuse_regions, level_weights
from codec.nets.lite.config import FIRST_TIME, LATENT_PX, LiteConfig
from codec.nets.lite.network import LiteRestorer
from codec.nets.lite.vocabulary import Vocabulary
from codec.nets.loading.device_config import multiplies_bfloat16
from codec.working_size import WorkingSize
from training.lite_descriptions import Described, read_descriptions
from training.lite_loss import RestorerLoss
from training.lite_reference_pictures import ReferencePictures
from training.lite_vocabulary import keep_vocabulary, vocabulary_from, vocabulary_of
from training.pictures import Pictures, Window, captions_of, cut
from training.runs import Run, weights_from

_EDGE_PX = 192
_BATCH = 4
_TEXTS = 4
"""The overall text and three details."""

_LEARNING_RATE, _WORDS_LEARNING_RATE = 8e-4, 2e-4
"""The second for the text encoder. At 1.6e-3 it came to give every text the same vectors within the first thousand
steps, and from then on learned nothing."""

_ONE_LOOK = 0.9
"""Share of samples at the noisiest level."""

_WITHOUT_TEXT, _WITHOUT_DETAILS, _BY_PEOPLE = 0.1, 0.1, 0.5
"""Shares of samples without texts, with the overall text alone, and with people's words where there are some."""

_REFERENCE_RATES = (1, 2, 3, 3, 3)
"""The rates that samples are drawn from, the default's own budget most often."""

_UNKNOWN_WORDS = 0.03
"""Share of tokens that are made unknown, so that the network learns what it does not know."""


@dataclass(frozen=True)
class Sample:
    """What one sample of a batch is made of."""

    window: Window
    coarse: Tensor
    texts: tuple[str, ...]
    regions: Tensor


class Samples:
    """Draws samples; pictures, their coarse forms at every rate, and what is said of them."""

    def __init__(self, pictures: Pictures, described: dict[str, Described], captions: dict[str, list[str]]) -> None:
        self._pictures = pictures
        self._reference = {rate: ReferencePictures(pictures, rate) for rate in _REFERENCE_RATES}
        self._described = [described[file.name] for file in pictures.files]
        self._captions = [captions.get(file.name, []) for file in pictures.files]

    def draw(self, count: int, edge: int, random: np.random.Generator) -> list[Sample]:
        """`count` random samples of `edge` pixels."""
        return [self._sample(window, random) for window in self._pictures.draw(count, edge, random)]

    def original(self, samples: Sequence[Sample], edge: int) -> Tensor:
        """(B, 3, edge, edge) in [0, 1]."""
        return self._pictures.seen([sample.window for sample in samples], edge)

    def _sample(self, window: Window, random: np.random.Generator) -> Sample:
        described = self._described[window.picture]
        overall, details, maps = described.overall, described.details, described.maps
        captions = self._captions[window.picture]
        if captions and random.random() < _BY_PEOPLE:
            overall = str(random.choice(captions))
        chance = random.random()
        if chance < _WITHOUT_TEXT:
            overall = ""
        if chance < _WITHOUT_TEXT + _WITHOUT_DETAILS:
            details, maps = (), ()
        coarse = self._reference[int(random.choice(_REFERENCE_RATES))][window.picture]
        shown = [(detail, mask) for detail, mask in zip(details, maps, strict=True) if mask.any()]
        texts = (overall, *(detail for detail, _ in shown))
        height, width = coarse.shape[1:]
        regions = _regions(tuple(mask for _, mask in shown), height, width, window)
        return Sample(window, coarse, texts + ("",) * (_TEXTS - len(texts)), regions)


def main() -> None:
    """Train until the run is over."""
    parser = argparse.ArgumentParser(prog="python -m training.lite_restorer", description=__doc__)
    parser.add_argument("--pictures", type=Path, required=True, help="folder of training pictures")
    parser.add_argument("--descriptions", type=Path, required=True, help="made by training.lite_descriptions")
    parser.add_argument("--sqz", type=Path, required=True, help="the weights of sqz-dist")
    parser.add_argument("--run", type=Path, required=True, help="folder of the run; one that exists goes on")
    parser.add_argument("--from", dest="start", type=Path, help="a run's folder, or a released file, to start from")
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--batch", type=int, default=_BATCH)
    parser.add_argument("--edge", type=int, default=_EDGE_PX, help="of the windows, in pixels")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="on the CPU")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    described = read_descriptions(arguments.descriptions)
    captions = captions_of(arguments.pictures / "captions.json")
    begun = arguments.run if (arguments.run / "state.pt").is_file() else arguments.start
    vocabulary = vocabulary_from(begun) if begun else vocabulary_of(described.values(), captions)
    network = fresh_network(len(vocabulary))
    if arguments.start is not None:
        network.load_state_dict(weights_from(arguments.start))
    network = network.to(device).to(memory_format=torch.channels_last)
    optimisers = optimisers_of(network)
    run = Run(arguments.run, network, optimisers, arguments.steps, arguments.minutes, seed=0)
    keep_vocabulary(vocabulary, arguments.run)
    pictures = Pictures.under(arguments.pictures, device, arguments.edge)
    samples = Samples(pictures, described, captions)
    loss = RestorerLoss(arguments.sqz).to(device)
    signal = torch.from_numpy(training_signal()).float()
    while not run.is_over:
        torch.manual_seed(run.step)
        run.before_step()
        random = run.random
        batch = samples.draw(arguments.batch, arguments.edge, random)
        original = samples.original(batch, arguments.edge)
        coarse_windows = torch.cat([cut(sample.coarse, sample.window, arguments.edge) for sample in batch])
        # The fused kernels' gradients take several times as long on a CPU at these few positions.
        backend = SDPBackend.MATH if device.type == "cpu" else SDPBackend.FLASH_ATTENTION
        halves = torch.autocast(device.type, torch.bfloat16, enabled=multiplies_bfloat16(device))
        with halves, sdpa_kernel([backend, SDPBackend.MATH]):
            painted, vectors, regions = _look(network, vocabulary, batch, original, coarse_windows, signal, random)
            parts = loss(painted, coarse_windows, original, vectors, regions)
        for optimiser in optimisers.values():
            optimiser.zero_grad(set_to_none=True)
        parts.weighted().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for optimiser in optimisers.values():
            optimiser.step()
        run.after_step(
            sqz=parts.perceived.item(),
            flat=parts.error.item(),
            # In millionths: logs have five decimals.
            pattern=1e6 * parts.pattern.item(),
            words=parts.words.item(),
            psnr=-10 * math.log10(F.mse_loss(painted, original).item()),
            coarse_psnr=-10 * math.log10(F.mse_loss(coarse_windows, original).item()),
        )


def fresh_network(vocabulary: int) -> LiteRestorer:
    """The networks before training: they give the coarse picture back, as DiffBIR's control network begins."""
    network = LiteRestorer(LiteConfig.of(vocabulary))
    outputs = [*network.control.zero_convs, network.unet.conv_out]
    for layer in (*outputs, network.control.mid_zero_conv):
        torch.nn.init.zeros_(layer.bias)
    # The control network's outputs keep their random weights, because two zero layers in a row would never learn.
    torch.nn.init.zeros_(network.unet.conv_out.weight)
    fuse_regions(network.unet)
    fuse_regions(network.control)
    return network


def optimisers_of(network: LiteRestorer) -> dict[str, torch.optim.Optimizer]:
    """One for the text encoder and one for the rest."""
    words = {name for name, _ in network.named_parameters() if name.startswith("text.")}
    groups = {
        "weights": ([value for name, value in network.named_parameters() if name not in words], _LEARNING_RATE),
        "words": ([value for name, value in network.named_parameters() if name in words], _WORDS_LEARNING_RATE),
    }
    return {
        name: torch.optim.AdamW(values, lr=rate, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
        for name, (values, rate) in groups.items()
    }


def _look(
    network: LiteRestorer, vocabulary: Vocabulary, batch: Sequence[Sample], original: Tensor, coarse: Tensor,
    signal: Tensor, random: np.random.Generator,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """One look of the network at each sample as a picture; the vectors of its texts, (B, R, T, C), and their regions,
    (B, R, h, w)."""
    device, count = original.device, len(batch)
    condition, clean = network.encode(coarse), network.encode(original)
    is_first = torch.from_numpy(random.random(count) < _ONE_LOOK)
    times = torch.where(is_first, FIRST_TIME, torch.from_numpy(random.integers(0, FIRST_TIME + 1, count)))
    kept = signal[times].to(device)[:, None, None, None]
    start = torch.where(is_first.to(device)[:, None, None, None], condition, clean)
    noisy = kept.sqrt() * start + (1 - kept).sqrt() * torch.randn_like(start)
    ids = vocabulary.ids([text for sample in batch for text in sample.texts])
    ids = np.where(random.random(ids.shape) < _UNKNOWN_WORDS, 0, ids)
    vectors = network.embed(torch.from_numpy(ids).to(device)).unflatten(0, (count, _TEXTS))
    regions = torch.cat([sample.regions for sample in batch]).to(device)
    weights = level_weights(regions, len(network.config.unet.multipliers))
    as_latents = {"memory_format": torch.channels_last}
    latents = network.predict(
        noisy.contiguous(**as_latents),
        times.to(device),
        vectors.flatten(1, 2),
        condition.contiguous(**as_latents),
        attention={"regions": weights},
    )
    return network.decode(latents), vectors, regions


def _regions(maps: tuple[npt.NDArray[np.uint8], ...], height: int, width: int, window: Window) -> Tensor:
    """(1, 4, h, w): how much each text holds at each latent of the window, as the decoder's fast schedule has it."""
    rows, columns = -(-height // LATENT_PX) * LATENT_PX, -(-width // LATENT_PX) * LATENT_PX
    weights = region_weights(maps, WorkingSize(width, height, columns, rows), LATENT_PX)
    top, left, edge = (round(each / LATENT_PX) for each in (window.top, window.left, window.edge))
    parts = torch.zeros(1, _TEXTS, edge, edge)
    if weights is None:
        parts[:, 0] = 1
        return parts
    whole = torch.from_numpy(weights)
    top, left = min(top, whole.shape[1] - edge), min(left, whole.shape[2] - edge)
    parts[0, : len(whole)] = whole[:, top : top + edge, left : left + edge]
    return parts.flip(3) if window.is_flipped else parts


if __name__ == "__main__":
    main()
