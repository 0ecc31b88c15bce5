"""DiffBIR as the diffusion restorer's networks: texts in, one type and device inside, float32 out. Loads nothing."""

from collections.abc import Mapping, Sequence

import torch

from codec.decode.diffusion.networks import Stage
from codec.decode.diffusion.sampling import Sampling
from codec.decode.diffusion.steered import Steered
from codec.nets.clip.tokenizer import clip_tokenizer
from codec.nets.diffbir.config import BSRNetConfig, Prediction, SCUNetConfig, Stage1Config, SwinIRConfig
from codec.nets.diffbir.network import LATENT_PX, DiffBIR

_RES_PX = 1024
"""The short edge that MISC's published decoder raises pictures to."""

_VALUES_PER_PX = {Stage.ENCODE: 810, Stage.DIFFUSE: 350, Stage.GUIDE: 8640, Stage.DECODE: 1410}
"""Values that live at one time for each pixel of a sample at the full-size widths, weights aside.

Measured on the CPU in float32 as the growth of a process's peak memory in one call at 512 x 512 (275, 647, 280 and
1126), a quarter added; `python -m bench.decode --device cpu` measures them again. GUIDE at 256 x 256: 6912.
"""

_STAGE1_VALUES: Mapping[type[Stage1Config], dict[Stage, int]] = {
    SwinIRConfig: {Stage.CLEAN: 345},
    BSRNetConfig: {Stage.CLEAN: 400},
    SCUNetConfig: {Stage.CLEAN: 900},
}
"""The same of the first stages."""

_FULL_SIZE_WIDTHS = {Stage.ENCODE: 128, Stage.DIFFUSE: 320, Stage.GUIDE: 128, Stage.DECODE: 128}


class DiffBIRNetworks(Steered[DiffBIR]):
    """`network`, which stays where it is and of the type it is; all its parameters share one device, and all but the
    first stage's one type."""

    latent_px = LATENT_PX
    res_px = _RES_PX
    sampling = Sampling()

    def __init__(self, network: DiffBIR) -> None:
        super().__init__(network)
        self._tokenizer = clip_tokenizer()
        config = network.config
        self.latent_channels = config.vae.latent_channels
        # The U-Net halves a latent three times, and first stages work in windows.
        self.multiple_px = max(2 ** (self._levels - 1) * LATENT_PX, network.stage1.multiple_px)
        self.prediction: Prediction = config.prediction
        self.zero_terminal_snr = config.zero_terminal_snr
        widths = {
            Stage.CLEAN: config.stage1.width,
            Stage.ENCODE: config.vae.width,
            Stage.DIFFUSE: config.unet.width,
            Stage.GUIDE: config.vae.width,
            Stage.DECODE: config.vae.width,
        }
        value_bytes = dict.fromkeys(widths, self._dtype.itemsize)
        value_bytes[Stage.CLEAN] = next(network.stage1.parameters()).element_size()
        values, full = _VALUES_PER_PX | _STAGE1_VALUES[type(config.stage1)], _FULL_SIZE_WIDTHS
        full = full | {Stage.CLEAN: type(config.stage1)().width}
        self.bytes_per_px: Mapping[Stage, float] = {
            stage: values[stage] * widths[stage] / full[stage] * value_bytes[stage] for stage in values
        }

    def embed(self, texts: Sequence[str]) -> torch.Tensor:
        """(B, 77, C) for B texts."""
        tokens = self._tokenizer.encode_padded(texts, self._network.config.text.length)
        return self._network.embed(torch.tensor(tokens, device=self.device)).float()

    def clean(self, picture: torch.Tensor) -> torch.Tensor:
        """Stage 1's picture."""
        return self._network.clean(picture.to(self.device)).float()

    def encode(self, picture: torch.Tensor) -> torch.Tensor:
        """The condition latent."""
        return self._network.encode(self._own(picture)).float()

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """The autoencoder's picture."""
        return self._network.decode(self._own(latents)).float()
