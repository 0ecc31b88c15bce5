"""CLIP Surgery (Li et al., arXiv 2304.05653): a CLIP that can say where in a picture a text applies, without training.

Works on transformers' CLIP with pixels and token ids; reading weights, pictures and words is done elsewhere.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 (the name that everyone knows it by)
from transformers import CLIPModel
from transformers.models.clip.modeling_clip import CLIPAttention

SURGERY_BLOCKS = 6
"""Last vision blocks that get the second path, as published."""

_MAX_TREE_TOKENS = 256
"""Tokens that attend to one another in one pass: attention grows with the square. The prompts of a name of a few words
have about 600; passes of 256 were the fastest, a sixth faster than a single one."""


class CLIPSurgery:
    """A CLIP whose image tokens and texts can be compared.

    Not a new network: the weights, and all of the computation that the published code leaves unchanged, are those of
    `clip`, which must be in evaluation mode. Features come back in float32 whatever the network's own type.
    """

    def __init__(self, clip: CLIPModel) -> None:
        self._vision, self._text, self._clip = clip.vision_model, clip.text_model, clip

    @property
    def resolution_px(self) -> int:
        """Edge of the square pictures that the network was trained with."""
        return int(self._vision.config.image_size)

    @property
    def context_length(self) -> int:
        """Most tokens that a text may have."""
        return int(self._text.config.max_position_embeddings)

    @torch.inference_mode()
    def image_tokens(self, pixels: torch.Tensor) -> torch.Tensor:
        """Features (B, 1 + N, D) of the class token and the N patches, row by row.

        `pixels`: (B, 3, S, S), normalised as CLIP wants them. Each channel has length one over the *tokens*, as the
        published demo normalises them, so what is common to all patches does not count more than what differs.
        """
        original = self._vision.pre_layrnorm(self._embedded(pixels))
        blocks = self._vision.encoder.layers
        for block in blocks[:-SURGERY_BLOCKS]:
            original = block(original, attention_mask=None)
        surgical = original
        for block in blocks[-SURGERY_BLOCKS:]:
            by_values, by_queries = _both_attentions(block.self_attn, block.layer_norm1(original))
            original = original + by_queries
            original = original + block.mlp(block.layer_norm2(original))
            # The feed-forward layer is left out here: it was found to push the patches' features away from the text's.
            surgical = surgical + by_values
        tokens = torch.cat([original[:, :1], surgical[:, 1:]], dim=1)
        features: torch.Tensor = self._clip.visual_projection(self._vision.post_layernorm(tokens)).float()
        features /= features.norm(dim=1, keepdim=True)
        return features

    @torch.inference_mode()
    def text_features(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        """Features (n, D) of length one, of token sequences that end with their END token and are not padded."""
        features: list[torch.Tensor] = [torch.empty(0)] * len(sequences)
        for tree in _trees(sequences):
            embedding = self._text.embeddings
            device = embedding.token_embedding.weight.device
            tokens, depths = torch.tensor(tree.tokens, device=device), torch.tensor(tree.depths, device=device)
            states = (embedding.token_embedding(tokens) + embedding.position_embedding(depths))[None]
            mask = tree.mask().to(device=device, dtype=states.dtype)
            states = self._text.encoder(inputs_embeds=states, attention_mask=mask).last_hidden_state
            ends = torch.tensor(list(tree.ends.values()), device=device)
            ended = self._clip.text_projection(self._text.final_layer_norm(states[0, ends])).float()
            for index, feature in zip(tree.ends, ended / ended.norm(dim=-1, keepdim=True), strict=True):
                features[index] = feature
        return torch.stack(features)

    def _embedded(self, pixels: torch.Tensor) -> torch.Tensor:
        embeddings = self._vision.embeddings
        weight = embeddings.patch_embedding.weight
        patches = embeddings.patch_embedding(pixels.to(weight)).flatten(2).transpose(1, 2)
        positions = embeddings.position_embedding.weight
        if positions.shape[0] != patches.shape[1] + 1:
            positions = _stretched(positions, round(patches.shape[1] ** 0.5))
        class_token = embeddings.class_embedding.expand(len(patches), 1, -1)
        tokens: torch.Tensor = torch.cat([class_token, patches], dim=1) + positions
        return tokens


def ensemble_feature(features: torch.Tensor) -> torch.Tensor:
    """One feature (D,) of length one for the features (n, D) of a name in n prompts."""
    mean = features.mean(dim=0)
    feature: torch.Tensor = mean / mean.norm()
    return feature


def feature_surgery(tokens: torch.Tensor, texts: torch.Tensor, redundant: torch.Tensor) -> torch.Tensor:
    """Similarity (B, T, n) of image tokens (B, T, D) and texts (n, D) without what every text has in common.

    `redundant`: (D,), the ensemble feature of the empty text, which lights up the same patches whatever is asked for.
    """
    return tokens @ (texts - redundant).T


def similarity_maps(similarity: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Patch similarity (B, N, n), without the class token, as maps (B, n, height, width) in [0, 1].

    Each map's least patch is 0 and its greatest 1 before it is enlarged. A map without contrast is 0 everywhere.
    """
    low, high = similarity.amin(dim=1, keepdim=True), similarity.amax(dim=1, keepdim=True)
    stretched = torch.nan_to_num((similarity - low) / (high - low), nan=0.0, posinf=0.0, neginf=0.0)
    side = round(similarity.shape[1] ** 0.5)
    grid = stretched.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    return F.interpolate(grid, (height, width), mode="bilinear", align_corners=False)


def _both_attentions(attention: CLIPAttention, normed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the block's attention gives with values in place of queries and keys, and as trained; each (B, T, C)."""
    queries, keys, values = (
        projection(normed).unflatten(-1, (attention.num_heads, attention.head_dim)).transpose(1, 2)
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    by_values = F.scaled_dot_product_attention(values, values, values, scale=attention.scale)
    by_queries = F.scaled_dot_product_attention(queries, keys, values, scale=attention.scale)
    both = torch.stack([by_values, by_queries]).transpose(2, 3).flatten(3)
    surgical, original = attention.out_proj(both)
    return surgical, original


def _stretched(positions: torch.Tensor, side: int) -> torch.Tensor:
    """Position embeddings (1 + side², C) of another number of patches, bilinear as in the published code."""
    trained_side = round((len(positions) - 1) ** 0.5)
    grid = positions[1:].T.unflatten(1, (trained_side, trained_side))[None]
    resized = F.interpolate(grid, (side, side), mode="bilinear", align_corners=False)[0]
    return torch.cat([positions[:1], resized.flatten(1).T])


class _TokenTree:
    """Token sequences that share their beginnings.

    A token's state depends on the tokens before it only, so what the prompts "a photo of a cat." and "a photo of a
    cool cat." begin with needs computing once, and nothing needs padding. The result is exact: every token sees its
    own ancestors, at its own position, and nothing else.
    """

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.depths: list[int] = []
        self.ends: dict[int, int] = {}
        """Last token of each sequence that was added, by the sequence's index."""
        self._parents: list[int] = []
        self._children: dict[tuple[int, int], int] = {}

    def add(self, index: int, sequence: Sequence[int]) -> None:
        node = -1
        for depth, token in enumerate(sequence):
            key = (node, token)
            if key not in self._children:
                self._children[key] = len(self.tokens)
                self.tokens.append(token)
                self.depths.append(depth)
                self._parents.append(node)
            node = self._children[key]
        self.ends[index] = node

    def mask(self) -> torch.Tensor:
        """(1, 1, n, n), to be added to attention scores: 0 for a token's ancestors and itself, else -inf."""
        sees = torch.eye(len(self.tokens), dtype=torch.bool)
        for node, parent in enumerate(self._parents):
            if parent >= 0:
                sees[node] |= sees[parent]
        return torch.zeros(sees.shape).masked_fill(~sees, float("-inf"))[None, None]


def _trees(sequences: Sequence[Sequence[int]]) -> Iterator[_TokenTree]:
    """The sequences in as few trees as stay small, neighbours in the alphabet together since they share most."""
    tree = _TokenTree()
    for index in sorted(range(len(sequences)), key=lambda index: list(sequences[index])):
        if tree.ends and len(tree.tokens) + len(sequences[index]) > _MAX_TREE_TOKENS:
            yield tree
            tree = _TokenTree()
        tree.add(index, sequences[index])
    if tree.ends:
        yield tree
