"""The lite restorer as one module: DiffBIR's wiring at small widths, on the picture's own samples. Knows no files."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from codec.nets.diffbir.build import build_text_encoder, build_unet
from codec.nets.diffbir.control import ControlNetwork, look_steered
from codec.nets.lite.config import LATENT_PX, LiteConfig

_TOKEN_TABLE = "text.embeddings.token_embedding.weight"


class LiteRestorer(nn.Module):
    """A U-Net steered by a control network that sees the coarse picture, both attending to the texts.

    Pictures are (B, 3, H, W) in [0, 1]; latents are (B, 48, H / 4, W / 4), the samples of a 4 x 4 block in [-1, 1] as
    channels. An autoencoder would cost more than all the rest at these widths.
    """

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        self.config = config
        self.unet = build_unet(config.unet)
        self.control = ControlNetwork(config.unet)
        self.text = build_text_encoder(config.text)

    @classmethod
    def filled(cls, tensors: Mapping[str, torch.Tensor]) -> "LiteRestorer":
        """The networks with these parameters, all of them and no others; ready for use. Raises RuntimeError for other
        names and shapes than a lite restorer has."""
        if _TOKEN_TABLE not in tensors:
            raise RuntimeError(f"{_TOKEN_TABLE} is missing")
        config = LiteConfig.of(tensors[_TOKEN_TABLE].shape[0])
        with torch.device("meta"):
            network = cls(config)
        network.load_state_dict(tensors, strict=True, assign=True)
        positions = torch.arange(config.text.length, device=tensors[_TOKEN_TABLE].device)[None]
        network.text.embeddings.position_ids = nn.Buffer(positions, persistent=False)
        return network.eval().requires_grad_(False)

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, T) ids in this vocabulary to (B, T, 64)."""
        return self.text(input_ids=tokens).last_hidden_state

    def encode(self, picture: torch.Tensor) -> torch.Tensor:
        """The picture as a latent. Sides must be multiples of 4."""
        return F.pixel_unshuffle(2 * picture - 1, LATENT_PX)

    def predict(
        self,
        noisy: torch.Tensor,
        times: torch.Tensor,
        texts: torch.Tensor,
        condition: torch.Tensor,
        control_scale: float = 1.0,
        attention: dict[str, Any] | None = None,
    ) -> torch.Tensor:
        """The clean latent that `noisy` comes from, (B, 48, h, w) with h and w multiples of 4.

        What the U-Net says is added to the condition, so that a network that knows nothing gives the coarse picture
        back. The other arguments are those of `DiffBIR.predict`.
        """
        change = look_steered(self.unet, self.control, noisy, times, texts, condition, control_scale, attention)
        return condition + change

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """The picture that latents stand for, float32; values may leave [0, 1] a little."""
        return F.pixel_shuffle(latents, LATENT_PX).float() / 2 + 0.5
