"""The lite restorer as one module: DiffBIR's wiring at small widths, on the picture's own samples. Knows no files."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from codec.nets.diffbir.build import build_text_encoder
from codec.nets.diffbir.control import SteeredUNet
from codec.nets.lite.config import LATENT_PX, LiteConfig


class LiteRestorer(SteeredUNet):
    """A U-Net steered by a control network that sees the coarse picture, both attending to the texts.

    Pictures are (B, 3, H, W) in [0, 1]; latents are (B, 48, H / 4, W / 4), the samples of a 4 x 4 block in [-1, 1] as
    channels. An autoencoder would cost more than all the rest at these widths. `predict` gives the clean latent, and
    wants latents whose sides are multiples of 4.
    """

    def __init__(self, config: LiteConfig) -> None:
        super().__init__(config.unet)
        self.config = config
        self.text = build_text_encoder(config.text)

    @classmethod
    def filled(cls, tensors: Mapping[str, torch.Tensor], vocabulary: int) -> "LiteRestorer":
        """The networks for so many tokens with these parameters, all of them and no others; ready for use. Raises
        RuntimeError for other names and shapes than a lite restorer has."""
        config = LiteConfig.of(vocabulary)
        with torch.device("meta"):
            network = cls(config)
        network.load_state_dict(tensors, strict=True, assign=True)
        positions = torch.arange(config.text.length)[None]
        network.text.embeddings.position_ids = nn.Buffer(positions, persistent=False)
        return network.eval().requires_grad_(False)

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, T) ids in this vocabulary to (B, T, 64)."""
        return self.text(input_ids=tokens).last_hidden_state

    def encode(self, picture: torch.Tensor) -> torch.Tensor:
        """The picture as a latent. Sides must be multiples of 4."""
        return F.pixel_unshuffle(2 * picture - 1, LATENT_PX)

    def _to_clean(self, residual: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        # So a network that knows nothing gives the coarse picture back.
        return condition + residual

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """The picture that latents stand for, float32; values may leave [0, 1] a little."""
        return F.pixel_shuffle(latents, LATENT_PX).float() / 2 + 0.5
