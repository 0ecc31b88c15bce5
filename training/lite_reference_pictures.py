"""What the training pictures look like to the restorer: through AVIF. The pictures are held in memory."""

import numpy as np
from PIL import Image
from torch import Tensor

from codec.picture.coded import read_coded, write_coded
from codec.picture.resize import enlarge_to, reduce_by
from training.pictures import Pictures, as_tensor


class ReferencePictures:
    """For each picture the coarse one at its full size, at about the bits of one of the rates; each is made when it is
    first asked for.

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
