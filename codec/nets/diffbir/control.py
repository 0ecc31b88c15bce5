"""DiffBIR's control network: the U-Net's encoder once more, which sees the condition beside the noisy latent."""

from typing import Any

import torch
from torch import nn

from codec.nets.diffbir.build import build_unet
from codec.nets.diffbir.config import UNetConfig


class ControlNetwork(nn.Module):
    """Turns a noisy latent and a condition latent into what is added to the U-Net's skips and middle.

    Unlike ControlNet it has no network for the hint: the condition is a latent already, and is concatenated to the
    noisy one before an 8-channel first convolution (DiffBIR, arXiv 2308.15070, section 3.2). The parts are those of
    diffusers' U-Net under its names; every output passes a 1x1 convolution that was zero when training began.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        encoder = build_unet(config, in_channels=2 * config.latent_channels)
        self.conv_in = encoder.conv_in
        self.time_proj = encoder.time_proj
        self.time_embedding = encoder.time_embedding
        self.down_blocks = encoder.down_blocks
        self.mid_block = encoder.mid_block
        widths = [config.width]
        for level, width in enumerate(config.widths):
            downsamples = level + 1 < len(config.widths)
            widths += [width] * (config.layers + downsamples)
        self.zero_convs = nn.ModuleList(nn.Conv2d(width, width, 1) for width in widths)
        self.mid_zero_conv = nn.Conv2d(widths[-1], widths[-1], 1)

    def forward(
        self,
        noisy: torch.Tensor,
        times: torch.Tensor,
        texts: torch.Tensor,
        condition: torch.Tensor,
        attention: dict[str, Any] | None = None,
    ) -> list[torch.Tensor]:
        """What is to be added to each skip of the U-Net, the outermost first, and last to its middle.

        `noisy` and `condition`: (B, 4, H, W), H and W multiples of 8; `times`: (B,) timesteps of training;
        `texts`: (B, T, C); `attention`: what the attention processors are handed besides.
        """
        embedded = self.time_embedding(self.time_proj(times).to(noisy.dtype))
        hidden = self.conv_in(torch.cat((noisy, condition), dim=1))
        skips = [hidden]
        for block in self.down_blocks:
            attends = getattr(block, "has_cross_attention", False)
            inputs = {"encoder_hidden_states": texts, "cross_attention_kwargs": attention} if attends else {}
            hidden, states = block(hidden, embedded, **inputs)
            skips += states
        hidden = self.mid_block(hidden, embedded, texts, cross_attention_kwargs=attention)
        added = [zero(skip) for zero, skip in zip(self.zero_convs, skips, strict=True)]
        return [*added, self.mid_zero_conv(hidden)]


class SteeredUNet(nn.Module):
    """A U-Net and the control network that steers it."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.unet = build_unet(config)
        self.control = ControlNetwork(config)

    def predict(
        self,
        noisy: torch.Tensor,
        times: torch.Tensor,
        texts: torch.Tensor,
        condition: torch.Tensor,
        control_scale: float = 1.0,
        attention: dict[str, Any] | None = None,
    ) -> torch.Tensor:
        """The networks' prediction for `noisy`, of its shape.

        `times`: (B,) timesteps of training, 0 to 999, one per sample; `texts`: from the text encoder; `condition`: a
        latent of the coarse picture; `control_scale`: how strongly it steers, 1 as trained; `attention`: what the
        attention processors of both networks are handed besides.
        """
        added = [each * control_scale for each in self.control(noisy, times, texts, condition, attention)]
        residual = self.unet(
            noisy,
            times,
            texts,
            cross_attention_kwargs=attention,
            down_block_additional_residuals=tuple(added[:-1]),
            mid_block_additional_residual=added[-1],
            return_dict=False,
        )[0]
        return self._to_clean(residual, condition)

    def _to_clean(self, residual: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """The prediction that the U-Net's output stands for, given its condition."""
        return residual
