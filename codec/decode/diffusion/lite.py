"""The lite networks as the diffusion restorer's: texts in, one type and device inside, float32 out. Loads nothing."""

from collections.abc import Mapping, Sequence

import torch

from codec.decode.diffusion.networks import Stage
from codec.decode.diffusion.sampling import Sampling
from codec.decode.diffusion.steered import Steered
from codec.nets.diffbir.config import Prediction
from codec.nets.lite.config import FIRST_TIME, LATENT_PX
from codec.nets.lite.network import LiteRestorer
from codec.nets.lite.rrdbnet import BYTES_PER_PX, RRDBNet
from codec.nets.lite.vocabulary import Vocabulary

_RES_PX = 64
"""Pictures are restored at their own size; only tiny ones are raised, so that there is something to see."""

_VALUES_PER_PX = {Stage.CLEAN: 4, Stage.ENCODE: 12, Stage.DIFFUSE: 136, Stage.GUIDE: 48, Stage.DECODE: 12}
"""Values that live at one time for each pixel of a sample, weights aside: the growth of a process's peak memory in one
call at 768 x 512 (0, 9, 108 and 9), a quarter added."""


class LiteNetworks(Steered[LiteRestorer]):
    """`network`, which stays where it is and of the type it is, and the vocabulary of its text encoder.

    With `stage1` diffusion begins with what that makes of the coarse picture, else with the coarse picture itself.
    """

    latent_px = LATENT_PX
    res_px = _RES_PX
    prediction = Prediction.CLEAN
    zero_terminal_snr = False
    sampling = Sampling(fast_steps=1, item_guidance=1.0, overall_guidance=1.0, first_time=FIRST_TIME)

    def __init__(self, network: LiteRestorer, vocabulary: Vocabulary, stage1: RRDBNet | None = None) -> None:
        super().__init__(network)
        self._stage1 = stage1
        self._vocabulary = vocabulary
        self.latent_channels = network.config.unet.latent_channels
        self.multiple_px = 2 ** (self._levels - 1) * LATENT_PX
        self.bytes_per_px: Mapping[Stage, float] = {
            stage: values * self._dtype.itemsize for stage, values in _VALUES_PER_PX.items()
        }
        if stage1 is not None:
            self.bytes_per_px = {**self.bytes_per_px, Stage.CLEAN: BYTES_PER_PX}

    def embed(self, texts: Sequence[str]) -> torch.Tensor:
        """(B, 77, C) for B texts."""
        return self._network.embed(torch.from_numpy(self._vocabulary.ids(texts)).to(self.device)).float()

    def clean(self, picture: torch.Tensor) -> torch.Tensor:
        """The picture without what its codec did to it."""
        picture = picture.to(self.device).float()
        return picture if self._stage1 is None else self._stage1(picture).clamp(0, 1)

    def encode(self, picture: torch.Tensor) -> torch.Tensor:
        """The condition latent."""
        return self._network.encode(picture.to(self.device).float())

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """The picture."""
        return self._network.decode(latents)

    def _own(self, values: torch.Tensor) -> torch.Tensor:
        own = super()._own(values)
        # Convolutions want the channels last on every device that they are fast on.
        return own.contiguous(memory_format=torch.channels_last) if own.ndim == 4 else own
