"""What the training pictures look like to the restorer: through a trained coarse codec, or through AVIF.

Writes no payloads; the pictures are held in memory.
"""

from pathlib import Path

import numpy as np
import torch
from compressai.models import JointAutoregressiveHierarchicalPriors
from PIL import Image
from torch import Tensor

from codec.picture.coded import read_coded, write_coded
from codec.picture.resize import enlarge_to, reduce_by
from training.lite_coarse import WIDTH, looked_at
from training.pictures import Pictures, as_tensor

SCALE = 2
"""The pictures are coded at half their size, as the profile does."""


def trained_codec(run: Path) -> JointAutoregressiveHierarchicalPriors:
    """The codec of a run, with the weights that would be released."""
    network = JointAutoregressiveHierarchicalPriors(WIDTH, WIDTH)
    network.load_state_dict(torch.load(run / "state.pt", map_location="cpu", weights_only=True)["averaged"])
    return network.eval().requires_grad_(False)


def coarse_pictures(run: Path, pictures: Pictures) -> list[Tensor]:
    """For each picture the coarse one at its full size, (3, H, W) uint8.

    Means come from neighbours with noise in place of rounding, not from decoded ones as in a payload: other errors of
    the same size.
    """
    network = trained_codec(run).to(pictures.device, memory_format=torch.channels_last)
    with torch.no_grad():
        return [_coarse(network, each) for each in pictures.tensors]


def _coarse(network: JointAutoregressiveHierarchicalPriors, picture: Tensor) -> Tensor:
    height, width = picture.shape[1:]
    reduced = reduce_by(Image.fromarray(picture.permute(1, 2, 0).cpu().numpy()), SCALE)
    values = as_tensor(reduced).to(picture.device)[None].float() / 255
    ends = (0, -values.shape[3] % 64, 0, -values.shape[2] % 64)
    padded = torch.nn.functional.pad(values, ends, mode="replicate").contiguous(memory_format=torch.channels_last)
    rebuilt = looked_at(network, padded)[1][0, :, : reduced.height, : reduced.width]
    samples = (rebuilt.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return as_tensor(enlarge_to(Image.fromarray(samples), width, height)).to(picture.device)


class ReferencePictures:
    """The same through AVIF at about the bits of one of the rates, each made when it is first asked for.

    Reduction and quality differ from picture to picture as they do where the reference mode chooses them for a budget.
    """

    def __init__(self, pictures: Pictures, rate: int) -> None:
        self._pictures, self._rate = pictures, rate
        self._made: dict[int, Tensor] = {}

    def __getitem__(self, index: int) -> Tensor:
        """(3, H, W) uint8."""
        if index not in self._made:
            self._made[index] = self._make(self._pictures.tensors[index], np.random.default_rng((self._rate, index)))
        return self._made[index]

    def _make(self, picture: Tensor, random: np.random.Generator) -> Tensor:
        choices = _REFERENCE_SETTINGS[self._rate]
        scale, lowest, highest = choices[random.integers(len(choices))]
        reduced = reduce_by(Image.fromarray(picture.permute(1, 2, 0).cpu().numpy()), scale)
        # The reference mode's quick setting; its thorough one takes four times as long and looks the same.
        file = write_coded("avif", reduced, int(random.integers(lowest, highest + 1)), thorough=False)
        enlarged = enlarge_to(read_coded("avif", file, *reduced.size), picture.shape[2], picture.shape[1])
        return as_tensor(enlarged).to(picture.device)


_REFERENCE_SETTINGS = {
    1: ((4, 14, 34), (4, 24, 40)),
    2: ((2, 3, 10), (4, 34, 52)),
    3: ((2, 10, 24), (2, 14, 30)),
}
"""By rate: reductions, each with the lowest and highest quality."""
