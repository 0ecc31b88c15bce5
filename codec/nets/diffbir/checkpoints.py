"""The forms in which DiffBIR's weights are published, and how each is read into the networks.

One file with everything (`general_full_v1.ckpt`), or a base, a control network and a first stage: the base as
Stable Diffusion's single file (`v2-1_512-ema-pruned`) or as a diffusers folder, the control network as
`v1_general.pth`, `v2.pth` or `DiffBIR_v2.1.pt`, the first stage as `general_swinir_v1.ckpt`, `BSRNet.pth`,
`scunet_color_real_psnr.pth` or `realesrgan_s4_swinir_100k.pth`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from codec.errors import WeightsCorrupt, WeightsMissing
from codec.nets.diffbir.bsrnet import BSRNET_RULES
from codec.nets.diffbir.config import V1, BSRNetConfig, DiffBIRConfig, SCUNetConfig
from codec.nets.diffbir.network import DiffBIR
from codec.nets.diffbir.rules import (
    AVERAGE_RULES,
    SCHEDULE_RULES,
    control_rules,
    text_rules,
    unet_rules,
    vae_decoder_rules,
    vae_encoder_rules,
)
from codec.nets.diffbir.scunet import scunet_rules
from codec.nets.diffbir.swinir import SWINIR_RULES
from codec.nets.loading.checkpoint import read_tensors
from codec.nets.loading.key_rules import Conversion, Rule, Tensors, convert, ignore, move, under

_ALIGNMENT_BYTES = 64
"""Tensors mapped from safetensors lie anywhere. On a CPU sums run in another order then, and the same weights out of
another file would give another picture."""

FIRST_STAGE = "preprocess_model."
"""What stands before the first stage's keys in the single file."""


@dataclass(frozen=True)
class Source:
    """Tensors of one file, the rules that carry them over, and the networks of DiffBIR that they fill completely."""

    origin: str
    tensors: Tensors
    rules: tuple[Rule, ...]
    fills: tuple[str, ...]


def load_whole(path: Path, config: DiffBIRConfig = V1, dtype: torch.dtype = torch.float32) -> DiffBIR:
    """The networks out of the single file. Raises WeightsMissing and WeightsCorrupt."""
    return assemble([whole(read_tensors(path), config, path.name)], config, dtype)


def load_parts(
    base: Path, control: Path, stage1: Path, config: DiffBIRConfig = V1, dtype: torch.dtype = torch.float32
) -> DiffBIR:
    """The networks out of three: `base` is a file or a diffusers folder. Raises WeightsMissing and WeightsCorrupt."""
    bases = diffusers_folder(base) if base.is_dir() else [base_file(read_tensors(base), config, base.name)]
    rest = [
        control_file(read_tensors(control), config, control.name),
        stage1_file(read_tensors(stage1), config, stage1.name),
    ]
    return assemble([*bases, *rest], config, dtype)


def assemble(
    sources: Iterable[Source], config: DiffBIRConfig, dtype: torch.dtype, device: torch.device | None = None
) -> DiffBIR:
    """The networks filled by `sources`, which must name each network once. Tensors of `dtype` are not copied if
    they are aligned.

    With `device` they go there one by one, so that main memory never holds them all. The first stage is float32
    whatever `dtype` is: it is small, and the finished picture takes its colours from it.
    """
    network = DiffBIR.hollow(config)
    tensors: dict[str, torch.Tensor] = {}
    for source in sources:
        for name, tensor in carry_over(source, network).tensors.items():
            if not tensor.is_floating_point():
                raise WeightsCorrupt(f"{source.origin}: {name} would be filled with {tensor.dtype}.")
            placed = tensor.to(device, torch.float32 if name.startswith("stage1.") else dtype)
            tensors[name] = placed if placed.data_ptr() % _ALIGNMENT_BYTES == 0 else placed.clone()
    network.fill(tensors)
    return network


def carry_over(source: Source, network: DiffBIR) -> Conversion:
    """What `source` gives to `network`, by parameter. Raises WeightsCorrupt."""
    prefixes = tuple(f"{part}." for part in source.fills)
    wanted = {name: value.shape for name, value in network.state_dict().items() if name.startswith(prefixes)}
    return convert(source.rules, source.tensors, wanted, source.origin)


def whole(tensors: Tensors, config: DiffBIRConfig, origin: str) -> Source:
    """The single file: the base, `control_model.`, `preprocess_model.` and, as published, `cond_encoder.`.

    The condition is encoded by `cond_encoder` there, which repeats the autoencoder's first half. It wins where it
    is present, and the repeated half is left out, because a condition is all that is ever encoded.
    """
    encoder = "first_stage_model."
    repeated: tuple[Rule, ...] = ()
    if any(key.startswith("cond_encoder.") for key in tensors):
        encoder = "cond_encoder."
        repeated = tuple(
            ignore(f"first_stage_model.{half}.{{*rest}}", "cond_encoder holds the same, and encodes the condition.")
            for half in ("encoder", "quant_conv")
        )
    rules = (
        *_base(config, encoder),
        *repeated,
        *under("control_model.", "control.", control_rules(config.unet)),
        *under(FIRST_STAGE, "stage1.", SWINIR_RULES),
    )
    return Source(origin, tensors, rules, ("unet", "vae", "text", "control", "stage1"))


def base_file(tensors: Tensors, config: DiffBIRConfig, origin: str) -> Source:
    """Stable Diffusion 2.1's single file."""
    return Source(origin, tensors, _base(config, "first_stage_model."), ("unet", "vae", "text"))


def control_file(tensors: Tensors, config: DiffBIRConfig, origin: str) -> Source:
    """A control network by itself, of DiffBIR v1, v2 or v2.1."""
    return Source(origin, tensors, under("", "control.", control_rules(config.unet)), ("control",))


def stage1_file(tensors: Tensors, config: DiffBIRConfig, origin: str) -> Source:
    """A first stage by itself, in the form of the architecture that `config` says."""
    rules = SWINIR_RULES
    if isinstance(config.stage1, BSRNetConfig):
        rules = BSRNET_RULES
    elif isinstance(config.stage1, SCUNetConfig):
        rules = scunet_rules(config.stage1)
    return Source(origin, tensors, under("", "stage1.", rules), ("stage1",))


def _base(config: DiffBIRConfig, encoder: str) -> tuple[Rule, ...]:
    """Stable Diffusion's keys; `encoder` is what stands before those of the autoencoder's first half."""
    return (
        *under("model.diffusion_model.", "unet.", unet_rules(config.unet)),
        *under(encoder, "vae.", vae_encoder_rules()),
        *under("first_stage_model.", "vae.", vae_decoder_rules(config.vae)),
        *under("cond_stage_model.model.", "text.", text_rules(config.text)),
        *SCHEDULE_RULES,
        *AVERAGE_RULES,
    )


def diffusers_folder(folder: Path) -> list[Source]:
    """A folder as diffusers writes it, whose keys are those of our modules but for older spellings."""
    return [
        Source(f"{folder.name}/{part}", read_tensors(_weights_in(folder / part)), rules, fills)
        for part, rules, fills in (
            ("unet", (move("{*name}", "unet.{name}"),), ("unet",)),
            ("vae", under("", "vae.", _folder_vae()), ("vae",)),
            ("text_encoder", under("", "text.", _folder_text()), ("text",)),
        )
    ]


def _weights_in(folder: Path) -> Path:
    """The weights of one network, safetensors before pickled ones and full precision before half."""
    names = [
        f"{stem}{precision}.{suffix}"
        for suffix, stems in (
            ("safetensors", ("diffusion_pytorch_model", "model")),
            ("bin", ("diffusion_pytorch_model", "pytorch_model")),
        )
        for precision in ("", ".fp16")
        for stem in stems
    ]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise WeightsMissing(f"{folder} holds none of {', '.join(names)}.")


def _folder_vae() -> tuple[Rule, ...]:
    """Files written before 2023 name the attention's projections otherwise."""
    older = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
    rules = [move("quant_conv.{p}", "quant_conv.{p}"), move("post_quant_conv.{p}", "post_quant_conv.{p}")]
    for half, blocks in (("encoder", "down_blocks"), ("decoder", "up_blocks")):
        attention = f"{half}.mid_block.attentions.0"
        same = ["conv_in", "conv_norm_out", "conv_out"]
        same += [f"mid_block.attentions.0.{name}" for name in ("group_norm", *older.values())]
        rules += [move(f"{half}.{name}.{{p}}", f"{half}.{name}.{{p}}") for name in same]
        rules += [
            move(f"{half}.{inner}.{{*rest}}", f"{half}.{inner}.{{rest}}") for inner in (blocks, "mid_block.resnets")
        ]
        rules += [move(f"{attention}.{old}.{{p}}", f"{attention}.{new}.{{p}}") for old, new in older.items()]
    return tuple(rules)


def _folder_text() -> tuple[Rule, ...]:
    """transformers 5 dropped the `text_model.` before the keys; files have it or not."""
    own = (
        move("embeddings.{part}.weight", "embeddings.{part}.weight"),
        move("encoder.{*rest}", "encoder.{rest}"),
        move("final_layer_norm.{p}", "final_layer_norm.{p}"),
        ignore("embeddings.position_ids", "They count from zero."),
    )
    return (*own, *under("text_model.", "", own))
