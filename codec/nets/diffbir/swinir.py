"""SwinIR as DiffBIR's first stage: cleans a picture of its degradation, keeps its size. Loads nothing.

After Liang et al., arXiv 2108.10257, in the form of `general_swinir_v1.ckpt`: the picture's pixels are unshuffled
eight to the edge, and nearest-neighbour steps with convolutions bring the size back.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from codec.nets.diffbir.config import SwinIRConfig
from codec.nets.loading.key_rules import ignore, move, under

_MEAN = (0.4488, 0.4371, 0.4040)
"""Mean colour of DIV2K, which every published SwinIR subtracts."""

_FEATURES = 64
"""Channels from the first enlargement on, fixed in the published code."""

_BARRED = -100.0
"""Added to the scores of pairs that the shift brought together from opposite edges. Not minus infinity, because the
published weights were trained with this."""


class SwinIR(nn.Module):
    """Pictures in, pictures of the same size out."""

    def __init__(self, config: SwinIRConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.conv_first = nn.Conv2d(3 * config.unshuffle**2, width, 3, padding=1)
        self.norm_first = nn.LayerNorm(width)
        self.groups = nn.ModuleList(
            _Group(config, depth, heads) for depth, heads in zip(config.depths, config.heads, strict=True)
        )
        self.norm_last = nn.LayerNorm(width)
        self.conv_after_body = nn.Conv2d(width, width, 3, padding=1)
        self.conv_before_upsample = nn.Conv2d(width, _FEATURES, 3, padding=1)
        doublings = config.unshuffle.bit_length() - 1
        self.conv_up = nn.ModuleList(nn.Conv2d(_FEATURES, _FEATURES, 3, padding=1) for _ in range(doublings))
        self.conv_hr = nn.Conv2d(_FEATURES, _FEATURES, 3, padding=1)
        self.conv_last = nn.Conv2d(_FEATURES, 3, 3, padding=1)

    @property
    def multiple_px(self) -> int:
        """Both sides of a picture must be multiples of this: a whole number of attention windows."""
        return self.config.unshuffle * self.config.window

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) in [0, 1] to the same shape, about the same range; H and W multiples of `multiple_px`."""
        if picture.shape[2] % self.multiple_px or picture.shape[3] % self.multiple_px:
            raise ValueError(f"{tuple(picture.shape)} is not made of whole windows of {self.multiple_px} px")
        mean = picture.new_tensor(_MEAN).view(1, 3, 1, 1)
        shallow = self.conv_first(F.pixel_unshuffle(picture - mean, self.config.unshuffle))
        tokens = self.norm_first(shallow.permute(0, 2, 3, 1))
        for group in self.groups:
            tokens = group(tokens)
        hidden = self.conv_after_body(self.norm_last(tokens).permute(0, 3, 1, 2)) + shallow
        hidden = F.leaky_relu(self.conv_before_upsample(hidden), 0.01)
        for conv in self.conv_up:
            hidden = F.leaky_relu(conv(F.interpolate(hidden, scale_factor=2, mode="nearest")), 0.2)
        return self.conv_last(F.leaky_relu(self.conv_hr(hidden), 0.2)) + mean


class _Group(nn.Module):
    """Blocks whose windows shift by half at every second one, a convolution, and a way around them all."""

    def __init__(self, config: SwinIRConfig, depth: int, heads: int) -> None:
        super().__init__()
        shifts = (0, config.window // 2)
        self.blocks = nn.ModuleList(_Block(config, heads, shifts[index % 2]) for index in range(depth))
        self.conv = nn.Conv2d(config.width, config.width, 3, padding=1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, H, W, C) to the same shape."""
        hidden = tokens
        for block in self.blocks:
            hidden = block(hidden)
        return self.conv(hidden.permute(0, 3, 1, 2)).permute(0, 2, 3, 1) + tokens


class _Block(nn.Module):
    """Attention within windows, then a feed-forward part, each around a normalised copy."""

    def __init__(self, config: SwinIRConfig, heads: int, shift: int) -> None:
        super().__init__()
        self.shift = shift
        self.norm1 = nn.LayerNorm(config.width)
        self.attention = _WindowAttention(config.width, config.window, heads)
        self.norm2 = nn.LayerNorm(config.width)
        hidden = int(config.width * config.hidden_ratio)
        self.expand = nn.Linear(config.width, hidden)
        self.contract = nn.Linear(hidden, config.width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, H, W, C) to the same shape."""
        shifted = torch.roll(self.norm1(tokens), (-self.shift, -self.shift), dims=(1, 2))
        attended = torch.roll(self.attention(shifted, self.shift), (self.shift, self.shift), dims=(1, 2))
        tokens = tokens + attended
        return tokens + self.contract(F.gelu(self.expand(self.norm2(tokens))))


class _WindowAttention(nn.Module):
    """Multi-head attention of the tokens of one window, with a learned bias for each relative position."""

    def __init__(self, width: int, window: int, heads: int) -> None:
        super().__init__()
        self.window = window
        self.heads = heads
        self.bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor, shift: int) -> torch.Tensor:
        """(B, H, W, C) to the same shape; `shift`: by how much the tokens were rolled before."""
        batch, height, width, channels = tokens.shape
        window = self.window
        grid = (batch, height // window, window, width // window, window)
        windows = tokens.view(*grid, channels).transpose(2, 3).reshape(-1, window**2, channels)
        shape = (windows.shape[0], window**2, 3, self.heads, channels // self.heads)
        query, key, value = self.qkv(windows).view(shape).permute(2, 0, 3, 1, 4)

        bias = self.bias_table[_relative_positions(window).to(tokens.device)].permute(2, 0, 1)[None]
        if shift:
            barred = _barred_pairs(height, width, window, shift).to(bias)
            bias = (bias + barred[:, None]).repeat(batch, 1, 1, 1)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)

        windows = self.proj(attended.transpose(1, 2).reshape(windows.shape))
        grid = (batch, height // window, width // window, window, window)
        return windows.view(*grid, channels).transpose(2, 3).reshape(tokens.shape)


@lru_cache(maxsize=4)
def _relative_positions(window: int) -> torch.Tensor:
    """(N, N) int64: for each pair of a window's N tokens the row of the bias table."""
    rows, columns = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    row, column = rows.flatten(), columns.flatten()
    down = row[:, None] - row[None, :] + window - 1
    right = column[:, None] - column[None, :] + window - 1
    return down * (2 * window - 1) + right


@lru_cache(maxsize=8)
def _barred_pairs(height: int, width: int, window: int, shift: int) -> torch.Tensor:
    """(windows, N, N) float32: 0 for pairs of tokens that were neighbours before the shift, `_BARRED` for others."""

    def zones(size: int) -> torch.Tensor:
        """Along one side: tokens in the last window that came around the edge are a zone of their own."""
        index = torch.arange(size)
        return (index >= size - window).long() + (index >= size - shift).long()

    zone = 3 * zones(height)[:, None] + zones(width)[None, :]
    zone = zone.view(height // window, window, width // window, window).transpose(1, 2).reshape(-1, window**2)
    return (zone[:, :, None] != zone[:, None, :]).float() * _BARRED


_BLOCK = (
    move("norm1.{p}", "norm1.{p}"),
    move("attn.relative_position_bias_table", "attention.bias_table"),
    move("attn.qkv.{p}", "attention.qkv.{p}"),
    move("attn.proj.{p}", "attention.proj.{p}"),
    move("norm2.{p}", "norm2.{p}"),
    move("mlp.fc1.{p}", "expand.{p}"),
    move("mlp.fc2.{p}", "contract.{p}"),
    ignore("attn.relative_position_index", "A constant of the window's size."),
    ignore("attn_mask", "A constant of the picture's size, made where it is used."),
)

SWINIR_RULES = (
    move("conv_first.1.{p}", "conv_first.{p}"),
    move("patch_embed.norm.{p}", "norm_first.{p}"),
    *under("layers.{#i}.residual_group.blocks.{#j}.", "groups.{i}.blocks.{j}.", _BLOCK),
    move("layers.{#i}.conv.{p}", "groups.{i}.conv.{p}"),
    move("norm.{p}", "norm_last.{p}"),
    move("conv_after_body.{p}", "conv_after_body.{p}"),
    move("conv_before_upsample.0.{p}", "conv_before_upsample.{p}"),
    move("conv_up1.{p}", "conv_up.0.{p}"),
    move("conv_up2.{p}", "conv_up.1.{p}"),
    move("conv_up3.{p}", "conv_up.2.{p}"),
    move("conv_hr.{p}", "conv_hr.{p}"),
    move("conv_last.{p}", "conv_last.{p}"),
)
"""The keys of `general_swinir_v1.ckpt`, `preprocess_model.` before each in the single file."""
