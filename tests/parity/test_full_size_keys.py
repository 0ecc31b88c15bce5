"""The key table of the published files against our full-size modules, without a single value."""

from collections import Counter

import pytest
import torch
from figures import figures

from codec.errors import WeightsCorrupt
from codec.nets.diffbir.checkpoints import Source, base_file, carry_over, control_file, stage1_file, whole
from codec.nets.diffbir.config import V1
from codec.nets.diffbir.network import DiffBIR
from codec.nets.loading.key_rules import Conversion, as_linear, thirds

KEYS: dict[str, list[int]] = figures("full_size_keys")[0]

SCHEDULE = [
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
    "logvar",
]

UNUSED_TEXT = ["text_projection", "logit_scale"] + [
    f"transformer.resblocks.23.{name}"
    for name in (
        "ln_1.weight",
        "ln_1.bias",
        "attn.in_proj_weight",
        "attn.in_proj_bias",
        "attn.out_proj.weight",
        "attn.out_proj.bias",
        "ln_2.weight",
        "ln_2.bias",
        "mlp.c_fc.weight",
        "mlp.c_fc.bias",
        "mlp.c_proj.weight",
        "mlp.c_proj.bias",
    )
]

SWINIR_BUFFERS = [
    f"layers.{layer}.residual_group.blocks.{block}.{name}"
    for layer in range(8)
    for block in range(6)
    for name in ("attn.relative_position_index", "attn_mask")
    if name != "attn_mask" or block % 2
]

PREFIXES = {"control": "control_model.", "stage1": "preprocess_model."}


@pytest.fixture(scope="module")
def hollow() -> DiffBIR:
    return DiffBIR.hollow(V1)


def meta_tensors(prefix: str = "", *, without: tuple[str, ...] = ()) -> dict[str, torch.Tensor]:
    """The table's entries under `prefix`, which is dropped; single files carry the schedule's buffers besides."""
    tensors = {
        key.removeprefix(prefix): torch.empty(shape, device="meta")
        for key, shape in KEYS.items()
        if key.startswith(prefix) and not key.startswith(without)
    }
    if not prefix:
        tensors |= {name: torch.empty(1000, device="meta") for name in SCHEDULE}
    return tensors


@pytest.fixture(scope="module")
def from_the_single_file(hollow: DiffBIR) -> Conversion:
    return carry_over(whole(meta_tensors(), V1, "general_full_v1.ckpt"), hollow)


def parts() -> list[Source]:
    base = meta_tensors(without=(*PREFIXES.values(), "cond_encoder."))
    return [
        base_file(base, V1, "v2-1_512-ema-pruned.ckpt"),
        control_file(meta_tensors(PREFIXES["control"]), V1, "v1_general.pth"),
        stage1_file(meta_tensors(PREFIXES["stage1"]), V1, "general_swinir_v1.ckpt"),
    ]


def ignored(conversion: Conversion) -> list[str]:
    return sorted(key for key, rule in conversion.taken.items() if not rule.targets)


def shapes(tensors: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def test_the_table_is_that_of_the_published_file() -> None:
    assert len(KEYS) == 2392
    assert round(sum(torch.Size(shape).numel() for shape in KEYS.values()) / 1e9, 2) == 1.72


def test_every_key_of_the_single_file_is_taken_and_every_parameter_filled(
    hollow: DiffBIR, from_the_single_file: Conversion
) -> None:
    assert from_the_single_file.taken.keys() == {*KEYS, *SCHEDULE}
    assert shapes(from_the_single_file.tensors) == shapes(dict(hollow.named_parameters()))
    assert shapes(dict(hollow.named_parameters())) == shapes(hollow.state_dict())


def test_every_key_of_the_parts_is_taken_and_every_parameter_filled_by_one_of_them(hollow: DiffBIR) -> None:
    conversions = [carry_over(source, hollow) for source in parts()]
    taken = sum(len(conversion.taken) for conversion in conversions)
    assert taken == sum(not key.startswith("cond_encoder.") for key in KEYS) + len(SCHEDULE)
    filled = Counter(name for conversion in conversions for name in conversion.tensors)
    assert filled.keys() == dict(hollow.named_parameters()).keys()
    assert set(filled.values()) == {1}


def test_keys_without_a_target_are_these(from_the_single_file: Conversion) -> None:
    repeated = [f"first_stage_model.{key[len('cond_encoder.') :]}" for key in KEYS if key.startswith("cond_encoder.")]
    text = [f"cond_stage_model.model.{name}" for name in UNUSED_TEXT]
    masks = [f"preprocess_model.{name}" for name in SWINIR_BUFFERS]
    assert len(repeated) == 108
    assert ignored(from_the_single_file) == sorted(SCHEDULE + text + masks + repeated)


def test_keys_of_the_parts_without_a_target_are_these(hollow: DiffBIR) -> None:
    text = [f"cond_stage_model.model.{name}" for name in UNUSED_TEXT]
    base, control, swinir = (ignored(carry_over(source, hollow)) for source in parts())
    assert base == sorted(SCHEDULE + text)
    assert control == []
    assert swinir == sorted(SWINIR_BUFFERS)


def test_packed_attention_weights_are_split_in_these_keys(from_the_single_file: Conversion) -> None:
    split = {key for key, rule in from_the_single_file.taken.items() if rule.transform is thirds}
    assert split == {
        f"cond_stage_model.model.transformer.resblocks.{layer}.attn.in_proj_{name}"
        for layer in range(23)
        for name in ("weight", "bias")
    }


def test_convolutions_became_linear_layers_in_these_keys(from_the_single_file: Conversion) -> None:
    reshaped = {
        key
        for key, rule in from_the_single_file.taken.items()
        if rule.transform is as_linear and len(KEYS[key]) == 4 and rule.targets
    }
    assert reshaped == {
        f"{half}.mid.attn_1.{name}.weight"
        for half in ("cond_encoder.encoder", "first_stage_model.decoder")
        for name in ("q", "k", "v", "proj_out")
    }


@pytest.mark.parametrize(
    "key",
    [
        "model.diffusion_model.input_blocks.12.0.in_layers.0.weight",
        "model.diffusion_model.label_emb.0.0.weight",
        "control_model.input_hint_block.0.weight",
        "cond_stage_model.transformer.text_model.embeddings.position_ids",
        "preprocess_model.conv_up4.weight",
        "alphas",
        "",
    ],
)
def test_a_key_that_the_published_files_lack_is_refused_by_name(hollow: DiffBIR, key: str) -> None:
    tensors = meta_tensors() | {key: torch.empty(320, device="meta")}
    with pytest.raises(WeightsCorrupt, match=rf"x\.ckpt: .*{key}"):
        carry_over(whole(tensors, V1, "x.ckpt"), hollow)


def test_each_missing_key_is_missed(hollow: DiffBIR) -> None:
    tensors = meta_tensors()
    for key in (
        "model.diffusion_model.out.2.bias",
        "control_model.zero_convs.11.0.weight",
        "first_stage_model.decoder.up.0.block.2.conv2.weight",
        "cond_stage_model.model.transformer.resblocks.22.attn.in_proj_bias",
        "preprocess_model.layers.7.residual_group.blocks.5.attn.relative_position_bias_table",
    ):
        shorter = {name: tensor for name, tensor in tensors.items() if name != key}
        with pytest.raises(WeightsCorrupt, match="nothing fills"):
            carry_over(whole(shorter, V1, "x.ckpt"), hollow)


def test_a_network_of_other_dimensions_is_refused_with_both_shapes(hollow: DiffBIR) -> None:
    tensors = meta_tensors() | {"control_model.input_blocks.0.0.weight": torch.empty(320, 4, 3, 3, device="meta")}
    with pytest.raises(WeightsCorrupt, match=r"\(320, 4, 3, 3\).*\(320, 8, 3, 3\)"):
        carry_over(whole(tensors, V1, "x.ckpt"), hollow)
