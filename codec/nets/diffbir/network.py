"""All of DiffBIR's networks as one module: what a schedule calls, on tensors. Knows no schedule, no tiles, no files."""

from collections.abc import Mapping

import torch
from torch import nn

from codec.nets.diffbir.bsrnet import BSRNet
from codec.nets.diffbir.build import build_text_encoder, build_vae
from codec.nets.diffbir.config import BSRNetConfig, DiffBIRConfig, SCUNetConfig, Stage1Config
from codec.nets.diffbir.control import SteeredUNet
from codec.nets.diffbir.scunet import SCUNet
from codec.nets.diffbir.swinir import SwinIR

LATENT_PX = 8
"""Pixels along the edge of one latent."""


def _stage1(config: Stage1Config) -> SwinIR | BSRNet | SCUNet:
    if isinstance(config, BSRNetConfig):
        return BSRNet(config)
    return SCUNet(config) if isinstance(config, SCUNetConfig) else SwinIR(config)


class DiffBIR(SteeredUNet):
    """Stable Diffusion 2.1 with DiffBIR's control network and its first stage (DiffBIR, arXiv 2308.15070).

    Pictures are (B, 3, H, W) in [0, 1], latents (B, 4, H / 8, W / 8) of about unit variance. `predict` gives what
    `config.prediction` says, and wants latents whose sides are multiples of 8.
    """

    def __init__(self, config: DiffBIRConfig) -> None:
        super().__init__(config.unet)
        self.config = config
        self.vae = build_vae(config.vae)
        self.text = build_text_encoder(config.text)
        self.stage1 = _stage1(config.stage1)

    @classmethod
    def hollow(cls, config: DiffBIRConfig) -> "DiffBIR":
        """The networks without memory for their parameters, for `fill`."""
        with torch.device("meta"):
            return cls(config)

    def fill(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take these tensors as parameters, all of them and no others, without a copy; ready for use afterwards.

        They must share one device.
        """
        self.load_state_dict(tensors, strict=True, assign=True)
        # The one buffer that no checkpoint holds would stay hollow.
        device = next(iter(tensors.values())).device
        positions = torch.arange(self.config.text.length, device=device)[None]
        self.text.embeddings.position_ids = nn.Buffer(positions, persistent=False)
        self.eval().requires_grad_(False)

    def clean(self, picture: torch.Tensor) -> torch.Tensor:
        """Stage 1: the picture without its degradation, same shape. Sides must be multiples of 64."""
        return self.stage1(picture.to(next(self.stage1.parameters()).dtype))

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, 77) token ids, zeros after the end token, to (B, 77, 1024)."""
        return self.text(input_ids=tokens).last_hidden_state

    def encode(self, picture: torch.Tensor) -> torch.Tensor:
        """The picture as a condition latent: the posterior's mode, so no randomness. Sides must be multiples of 8."""
        return self.vae.encode(2 * picture - 1).latent_dist.mode() * self.config.vae.latent_scale

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """The picture that latents stand for, float32; values may leave [0, 1] a little."""
        return self.vae.decode(latents / self.config.vae.latent_scale, return_dict=False)[0].float() / 2 + 0.5
