"""Loads CLIP vision transformers: OpenAI's checkpoints and transformers' folders, into transformers' classes.

Only tensors are read from a file, never objects. ResNet variants are refused.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPConfig, CLIPModel

from codec.errors import WeightsCorrupt, WeightsMissing
from codec.nets.clip.tokenizer import VOCABULARY_SIZE
from codec.nets.loading.checkpoint import read_tensors
from codec.nets.loading.key_rules import Rule, Tensors, convert, ignore, move, thirds, under

_WEIGHTS_NAMES = ("model.safetensors", "pytorch_model.bin")
"""What transformers calls the file in a model's folder, preferred first."""

_MAX_CONFIG_BYTES = 1024 * 1024

_HEAD_WIDTH = 64
"""Channels of an attention head in every CLIP that OpenAI published."""

_DEFAULT_VISION_HEADS, _DEFAULT_TEXT_HEADS = 12, 8
"""What transformers takes where a configuration has none."""

_ACTIVATIONS = ("quick_gelu", "gelu")
"""OpenAI's networks have the first; some trained by others and converted to transformers' format have the second."""


@dataclass(frozen=True)
class Details:
    """What tensors do not tell. The defaults are those of OpenAI's networks; heads of None means width / 64."""

    vision_heads: int | None = None
    text_heads: int | None = None
    vision_activation: str = "quick_gelu"
    text_activation: str = "quick_gelu"


def load_clip(path: Path) -> CLIPModel:
    """Load a CLIP in float32 on the CPU, ready for inference.

    `path`: OpenAI's TorchScript archive, a state dict with OpenAI's or transformers' keys (safetensors, or PyTorch's
    format), or a folder with `config.json` and one of these in transformers' form. Raises WeightsMissing when there
    is no such file, and WeightsCorrupt, which names the key, when it is anything but a whole CLIP.
    """
    details = Details()
    if path.is_dir():
        details = _read_details(path / "config.json")
        files = [path / name for name in _WEIGHTS_NAMES if (path / name).is_file()]
        if not files:
            raise WeightsMissing(f"{path} has none of {', '.join(_WEIGHTS_NAMES)}.")
        path = files[0]
    return clip_from_tensors(read_tensors(path), path.name, details)


def clip_from_tensors(tensors: Tensors, origin: str, details: Details | None = None) -> CLIPModel:
    """A CLIP with the given tensors, whose sizes are read off them; `origin` names their file in messages."""
    details = details or Details()
    layout = next((layout for layout in (_OPENAI, _TRANSFORMERS) if layout.patches in tensors), None)
    if layout is None:
        kind = "a ResNet variant of CLIP, which" if "visual.layer1.0.conv1.weight" in tensors else "no CLIP that"
        raise WeightsCorrupt(f"{origin} is {kind} can be used; take a vision transformer such as ViT-B/16.")
    config = _configuration(tensors, layout, details, origin)
    with torch.device("meta"):
        clip = CLIPModel(config)
    wanted = {name: parameter.shape for name, parameter in clip.state_dict().items()}
    conversion = convert(layout.rules, tensors, wanted, origin)
    clip.load_state_dict({name: tensor.float() for name, tensor in conversion.tensors.items()}, assign=True)
    # The only buffers that no checkpoint has; on the meta device they are empty.
    for embeddings in (clip.text_model.embeddings, clip.vision_model.embeddings):
        embeddings.position_ids = torch.arange(embeddings.position_ids.shape[1])[None]
    return clip.eval().requires_grad_(False)


def _read_details(path: Path) -> Details:
    """The part of transformers' configuration that the tensors do not tell; what is left out has its defaults."""
    try:
        with path.open("rb") as file:
            config = json.loads(file.read(_MAX_CONFIG_BYTES))
    except FileNotFoundError as error:
        raise WeightsMissing(f"{path} is not there; transformers' folders have one.") from error
    except ValueError as error:
        raise WeightsCorrupt(f"{path} is no JSON of a sensible size: {error}") from error
    if not isinstance(config, dict) or config.get("model_type") != "clip":
        raise WeightsCorrupt(f"{path} does not describe a CLIP.")
    towers = (config.get("vision_config"), config.get("text_config"))
    vision, text = (tower if isinstance(tower, dict) else {} for tower in towers)
    return Details(
        vision_heads=vision.get("num_attention_heads", _DEFAULT_VISION_HEADS),
        text_heads=text.get("num_attention_heads", _DEFAULT_TEXT_HEADS),
        vision_activation=vision.get("hidden_act", Details.vision_activation),
        text_activation=text.get("hidden_act", Details.text_activation),
    )


@dataclass(frozen=True)
class _Layout:
    """How one form of checkpoint names things; `projection` has the key and the axis of the shared features."""

    rules: tuple[Rule, ...]
    patches: str
    vision_positions: str
    vision_block: str
    text_tokens: str
    text_positions: str
    text_block: str
    projection: tuple[str, int]


def _configuration(tensors: Tensors, layout: _Layout, details: Details, origin: str) -> CLIPConfig:
    def sizes(key: str, dimensions: int) -> tuple[int, ...]:
        shape = tuple(tensors[key].shape) if key in tensors else ()
        if len(shape) != dimensions or 0 in shape:
            raise WeightsCorrupt(f"{origin}: {key} is missing or has the shape {shape}.")
        return shape

    def tower(positions: str, block: str, heads: int | None, activation: str) -> dict[str, Any]:
        width = sizes(positions, 2)[1]
        heads = max(1, width // _HEAD_WIDTH) if heads is None else heads
        if not isinstance(heads, int) or heads < 1 or width % heads:
            raise WeightsCorrupt(f"{origin}: a width of {width} cannot have {heads!r} attention heads.")
        if activation not in _ACTIVATIONS:
            raise WeightsCorrupt(f"{origin}: the activation {activation!r} is none of {', '.join(_ACTIVATIONS)}.")
        return {
            "hidden_size": width,
            "intermediate_size": sizes(block.format(0), 2)[0],
            "num_hidden_layers": next(n for n in range(len(tensors) + 1) if block.format(n) not in tensors),
            "num_attention_heads": heads,
            "hidden_act": activation,
        }

    patch_size = sizes(layout.patches, 4)[-1]
    patches = sizes(layout.vision_positions, 2)[0] - 1
    side = math.isqrt(patches)
    if patches < 1 or side * side != patches:
        raise WeightsCorrupt(f"{origin}: {layout.vision_positions} is for {patches} patches, which are no square.")
    if (words := sizes(layout.text_tokens, 2)[0]) != VOCABULARY_SIZE:
        raise WeightsCorrupt(f"{origin}: {layout.text_tokens} has {words} tokens; CLIP has {VOCABULARY_SIZE}.")
    vision = tower(layout.vision_positions, layout.vision_block, details.vision_heads, details.vision_activation)
    text = tower(layout.text_positions, layout.text_block, details.text_heads, details.text_activation)
    key, axis = layout.projection
    return CLIPConfig(
        vision_config={**vision, "patch_size": patch_size, "image_size": side * patch_size},
        text_config={
            **text,
            "vocab_size": VOCABULARY_SIZE,
            "max_position_embeddings": sizes(layout.text_positions, 2)[0],
        },
        projection_dim=sizes(key, 2)[axis],
    )


def _transposed(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return (tensor.T,) if tensor.ndim == 2 else ()


def _packed(parameter: str) -> Rule:
    targets = tuple(f"{{n}}.self_attn.{part}_proj.{parameter}" for part in "qkv")
    return Rule(f"{{n}}.attn.in_proj_{parameter}", targets, thirds)


_OPENAI_BLOCK = (
    _packed("weight"),
    _packed("bias"),
    move("{n}.attn.out_proj.{p}", "{n}.self_attn.out_proj.{p}"),
    move("{n}.ln_1.{p}", "{n}.layer_norm1.{p}"),
    move("{n}.ln_2.{p}", "{n}.layer_norm2.{p}"),
    move("{n}.mlp.c_fc.{p}", "{n}.mlp.fc1.{p}"),
    move("{n}.mlp.c_proj.{p}", "{n}.mlp.fc2.{p}"),
    ignore("{n}.attn_mask", "the causal mask, a constant that an archive may keep as an attribute"),
)

_OPENAI = _Layout(
    rules=(
        *under("visual.transformer.resblocks.", "vision_model.encoder.layers.", _OPENAI_BLOCK),
        move("visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight"),
        move("visual.class_embedding", "vision_model.embeddings.class_embedding"),
        move("visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
        # The misspelling is transformers' own.
        move("visual.ln_pre.{p}", "vision_model.pre_layrnorm.{p}"),
        move("visual.ln_post.{p}", "vision_model.post_layernorm.{p}"),
        move("visual.proj", "visual_projection.weight", _transposed),
        *under("transformer.resblocks.", "text_model.encoder.layers.", _OPENAI_BLOCK),
        move("token_embedding.weight", "text_model.embeddings.token_embedding.weight"),
        move("positional_embedding", "text_model.embeddings.position_embedding.weight"),
        move("ln_final.{p}", "text_model.final_layer_norm.{p}"),
        move("text_projection", "text_projection.weight", _transposed),
        move("logit_scale", "logit_scale"),
        *(
            ignore(key, "a number that the archive keeps as a tensor; the shapes tell it too")
            for key in ("input_resolution", "context_length", "vocab_size")
        ),
    ),
    patches="visual.conv1.weight",
    vision_positions="visual.positional_embedding",
    vision_block="visual.transformer.resblocks.{}.mlp.c_fc.weight",
    text_tokens="token_embedding.weight",
    text_positions="positional_embedding",
    text_block="transformer.resblocks.{}.mlp.c_fc.weight",
    projection=("visual.proj", 1),
)

_POSITION_IDS = ("text_model.embeddings.position_ids", "vision_model.embeddings.position_ids")

_TRANSFORMERS = _Layout(
    rules=(
        Rule("{*name}", ("{name}",), place=lambda names: None if names["name"] in _POSITION_IDS else {}),
        *(ignore(key, "0, 1, 2 and so on, which older versions of transformers stored") for key in _POSITION_IDS),
    ),
    patches="vision_model.embeddings.patch_embedding.weight",
    vision_positions="vision_model.embeddings.position_embedding.weight",
    vision_block="vision_model.encoder.layers.{}.mlp.fc1.weight",
    text_tokens="text_model.embeddings.token_embedding.weight",
    text_positions="text_model.embeddings.position_embedding.weight",
    text_block="text_model.encoder.layers.{}.mlp.fc1.weight",
    projection=("visual_projection.weight", 0),
)
