"""Lets each part of a picture attend to its own texts, in one call of the network. Decides no weights."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812
from diffusers.models.attention_processor import Attention, AttnProcessor2_0

LevelWeights = Mapping[int, torch.Tensor]
"""For each number of positions that a network's level may have, (B, R, positions) weights of R texts."""


def level_weights(regions: torch.Tensor, levels: int) -> dict[int, torch.Tensor]:
    """`regions`, (B, R, h, w), for each of the `levels` of a U-Net that halves its latents from one to the next.

    Levels are told apart by their number of positions, which is all that attention sees of them.
    """
    weights = {}
    for level in range(levels):
        reduced = F.avg_pool2d(regions, 2**level)
        weights[reduced.shape[2] * reduced.shape[3]] = reduced.flatten(2)
    return weights


def fuse_regions(network: torch.nn.Module) -> None:
    """Make every attention of `network` understand `cross_attention_kwargs={"regions": LevelWeights}`."""
    for module in network.modules():
        if isinstance(module, Attention):
            module.set_processor(RegionAttention())


class RegionAttention(AttnProcessor2_0):  # type: ignore[misc]  # diffusers has no types
    """Attends to R texts one by one, and adds up what they give by their weights at each position.

    The texts of a sample follow each other in `encoder_hidden_states`, (B, R * T, C). Attending to all of them at once
    under a mask would cost as much, but the share of each would be up to the attention's own scores, of which every
    text's start token takes most, and masks have hard edges. Here a text that has weight 0 changes nothing, and texts
    that are alike give exactly what one of them gives. Without regions it is diffusers' own attention.
    """

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
        regions: LevelWeights | None = None,
    ) -> torch.Tensor:
        """(B, N, C) to the same shape."""
        if regions is None or encoder_hidden_states is None:
            return super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        weights = regions[hidden_states.shape[1]]
        texts = weights.shape[1]
        query = _heads(attn.to_q(hidden_states), attn.heads)
        keys = _heads(attn.to_k(encoder_hidden_states), attn.heads).chunk(texts, dim=2)
        values = _heads(attn.to_v(encoder_hidden_states), attn.heads).chunk(texts, dim=2)
        mixed = torch.zeros_like(query)
        for index, (key, value) in enumerate(zip(keys, values, strict=True)):
            attended = F.scaled_dot_product_attention(query, key, value)
            mixed = mixed + attended * weights[:, index, None, :, None]
        joined: torch.Tensor = attn.to_out[0](mixed.transpose(1, 2).flatten(2))
        return joined


def _heads(values: torch.Tensor, heads: int) -> torch.Tensor:
    """(B, N, heads * D) to (B, heads, N, D)."""
    batch, positions, width = values.shape
    return values.view(batch, positions, heads, width // heads).transpose(1, 2)
