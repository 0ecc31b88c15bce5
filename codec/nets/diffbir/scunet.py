"""SCUNet as the first stage of DiffBIR v2 where noise is to go: convolutions beside attention. Loads nothing.

After Zhang et al., arXiv 2203.13278, in the form of `scunet_color_real_psnr.pth`.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from codec.nets.diffbir.config import SCUNetConfig
from codec.nets.loading.key_rules import Names, Rule, move, placed, under

_DOWNS = 3


class SCUNet(nn.Module):
    """Pictures in, pictures of the same size out: a U-Net of three halvings with additive skips."""

    def __init__(self, config: SCUNetConfig) -> None:
        super().__init__()
        self.multiple_px = 2**_DOWNS * config.window
        widths = [config.width * 2**level for level in range(_DOWNS + 1)]
        down, body, up = config.depths[:_DOWNS], config.depths[_DOWNS], config.depths[_DOWNS + 1 :]
        self.head = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.down = nn.ModuleList(_stage(width, depth, config) for width, depth in zip(widths, down, strict=False))
        self.halvings = nn.ModuleList(nn.Conv2d(width, 2 * width, 2, stride=2, bias=False) for width in widths[:-1])
        self.body = _stage(widths[-1], body, config)
        self.doublings = nn.ModuleList(
            nn.ConvTranspose2d(2 * width, width, 2, stride=2, bias=False) for width in reversed(widths[:-1])
        )
        self.up = nn.ModuleList(
            _stage(width, depth, config) for width, depth in zip(reversed(widths[:-1]), up, strict=True)
        )
        self.tail = nn.Conv2d(widths[0], 3, 3, padding=1, bias=False)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) in [0, 1] to the same shape, about the same range; H and W multiples of `multiple_px`."""
        skips = [self.head(picture)]
        for stage, halve in zip(self.down, self.halvings, strict=True):
            skips.append(halve(stage(skips[-1])))
        hidden = self.body(skips[-1])
        for double, stage in zip(self.doublings, self.up, strict=True):
            hidden = stage(double(hidden + skips.pop()))
        tail: torch.Tensor = self.tail(hidden + skips.pop())
        return tail


def _stage(width: int, depth: int, config: SCUNetConfig) -> nn.Sequential:
    """Blocks whose windows shift by half at every second one."""
    return nn.Sequential(*(_Block(width, config, shifts=index % 2 == 1) for index in range(depth)))


class _Block(nn.Module):
    """Half of the channels go through convolutions, the other half through attention; both meet in a residual."""

    def __init__(self, width: int, config: SCUNetConfig, *, shifts: bool) -> None:
        super().__init__()
        half = width // 2
        self.split = nn.Conv2d(width, width, 1)
        self.conv1 = nn.Conv2d(half, half, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(half, half, 3, padding=1, bias=False)
        self.norm1 = nn.LayerNorm(half)
        self.attention = _WindowAttention(half, config.head_width, config.window, shifts=shifts)
        self.norm2 = nn.LayerNorm(half)
        self.expand = nn.Linear(half, 4 * half)
        self.contract = nn.Linear(4 * half, half)
        self.join = nn.Conv2d(width, width, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to the same shape."""
        near, far = self.split(features).chunk(2, dim=1)
        near = self.conv2(F.relu(self.conv1(near))) + near
        tokens = far.permute(0, 2, 3, 1)
        tokens = tokens + self.attention(self.norm1(tokens))
        tokens = tokens + self.contract(F.gelu(self.expand(self.norm2(tokens))))
        joined: torch.Tensor = self.join(torch.cat((near, tokens.permute(0, 3, 1, 2)), dim=1))
        return features + joined


class _WindowAttention(nn.Module):
    """Multi-head attention of the tokens of one window, with a learned bias for each relative position."""

    def __init__(self, width: int, head_width: int, window: int, *, shifts: bool) -> None:
        super().__init__()
        self.window, self.head_width = window, head_width
        self.shift = window // 2 if shifts else 0
        self.qkv = nn.Linear(width, 3 * width)
        self.bias_table = nn.Parameter(torch.zeros(width // head_width, 2 * window - 1, 2 * window - 1))
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, H, W, C) to the same shape."""
        batch, height, width, channels = tokens.shape
        window, shift = self.window, self.shift
        rows, columns = height // window, width // window
        tokens = torch.roll(tokens, (-shift, -shift), dims=(1, 2))
        windows = tokens.view(batch, rows, window, columns, window, channels).transpose(2, 3)
        windows = windows.reshape(batch, rows * columns, window**2, channels)
        # The published projection lays out query, key and value one after the other, each made of whole heads.
        shape = (batch, rows * columns, window**2, 3, channels // self.head_width, self.head_width)
        query, key, value = self.qkv(windows).view(shape).permute(3, 0, 1, 4, 2, 5)
        bias = self._bias().expand(rows * columns, -1, -1, -1)
        if shift:
            bias = bias + _barred(rows, columns, window, shift, bias.device).to(bias)[:, None]
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias[None])
        joined = self.proj(attended.transpose(2, 3).reshape(windows.shape))
        joined = joined.view(batch, rows, columns, window, window, channels).transpose(2, 3)
        return torch.roll(joined.reshape(tokens.shape), (shift, shift), dims=(1, 2))

    def _bias(self) -> torch.Tensor:
        """(heads, N, N) of the table, by how far two tokens of a window are apart."""
        places = torch.arange(self.window, device=self.bias_table.device)
        row, column = (each.flatten() for each in torch.meshgrid(places, places, indexing="ij"))
        down = row[:, None] - row[None, :] + self.window - 1
        right = column[:, None] - column[None, :] + self.window - 1
        return self.bias_table[:, down, right]


def _barred(rows: int, columns: int, window: int, shift: int, device: torch.device) -> torch.Tensor:
    """(windows, N, N): minus infinity for pairs of tokens that the shift brought together from opposite edges."""
    place = torch.arange(window, device=device) < window - shift
    row, column = (each.flatten() for each in torch.meshgrid(place, place, indexing="ij"))
    last_row = torch.arange(rows, device=device) == rows - 1
    last_column = torch.arange(columns, device=device) == columns - 1
    across = (row[:, None] != row[None, :])[None, None] & last_row[:, None, None, None]
    along = (column[:, None] != column[None, :])[None, None] & last_column[None, :, None, None]
    barred = (across | along).flatten(0, 1)
    return torch.zeros(barred.shape, device=device).masked_fill(barred, float("-inf"))


_BLOCK = (
    move("conv1_1.{p}", "split.{p}"),
    move("conv_block.0.{p}", "conv1.{p}"),
    move("conv_block.2.{p}", "conv2.{p}"),
    move("trans_block.ln1.{p}", "norm1.{p}"),
    move("trans_block.msa.embedding_layer.{p}", "attention.qkv.{p}"),
    move("trans_block.msa.relative_position_params", "attention.bias_table"),
    move("trans_block.msa.linear.{p}", "attention.proj.{p}"),
    move("trans_block.ln2.{p}", "norm2.{p}"),
    move("trans_block.mlp.0.{p}", "expand.{p}"),
    move("trans_block.mlp.2.{p}", "contract.{p}"),
    move("conv1_2.{p}", "join.{p}"),
)


def scunet_rules(config: SCUNetConfig) -> tuple[Rule, ...]:
    """The keys of `scunet_color_real_psnr.pth`, whose levels end (down) or begin (up) with the change of size."""

    def from_zero(names: Names) -> Names:
        return {"place": str(int(names["i"]) - 1)}

    rules: list[Rule] = [move("m_head.0.{p}", "head.{p}"), move("m_tail.0.{p}", "tail.{p}")]
    rules += under("m_body.{#i}.", "body.{i}.", _BLOCK)
    for level in range(_DOWNS):
        down, up = f"m_down{level + 1}.", f"m_up{_DOWNS - level}."
        rules += under(f"{down}{{#i}}.", f"down.{level}.{{i}}.", _BLOCK)
        rules.append(move(f"{down}{config.depths[level]}.{{p}}", f"halvings.{level}.{{p}}"))
        rules += placed(under(f"{up}{{#i}}.", f"up.{level}.{{place}}.", _BLOCK), from_zero)
        rules.append(move(f"{up}0.{{p}}", f"doublings.{level}.{{p}}"))
    return tuple(rules)
