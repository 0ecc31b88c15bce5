"""Every published form of the weights gives the same network; written at tiny widths and read back."""

from pathlib import Path

import pytest
import torch
from figures import tiny_checkpoint, tiny_config
from safetensors.torch import save_file

from codec.errors import WeightsCorrupt, WeightsMissing
from codec.nets.diffbir.checkpoints import load_parts, load_whole
from codec.nets.diffbir.network import DiffBIR

CONFIG = tiny_config()

Tensors = dict[str, torch.Tensor]


def take(tensors: Tensors, prefix: str) -> Tensors:
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def write_control_and_swinir(folder: Path, tensors: Tensors) -> tuple[Path, Path]:
    control, swinir = folder / "v1_general.pth", folder / "general_swinir_v1.ckpt"
    torch.save(take(tensors, "control_model."), control)
    torch.save({"state_dict": take(tensors, "preprocess_model.")}, swinir)
    return control, swinir


def write_diffusers_folder(folder: Path, network: DiffBIR, *, older: bool) -> None:
    network.unet.save_pretrained(folder / "unet")
    network.vae.save_pretrained(folder / "vae")
    network.text.save_pretrained(folder / "text_encoder")
    if older:
        vae = network.vae.state_dict()
        for new, old in {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}.items():
            vae = {key.replace(f"attentions.0.{new}", f"attentions.0.{old}"): value for key, value in vae.items()}
        text = {f"text_model.{key}": value for key, value in network.text.state_dict().items()}
        text["text_model.embeddings.position_ids"] = torch.arange(77)[None]
        for part, tensors in (("vae", vae), ("text_encoder", text)):
            for file in (folder / part).glob("*.safetensors"):
                file.unlink()
            torch.save(tensors, folder / part / f"{'diffusion_' if part == 'vae' else ''}pytorch_model.bin")


def assert_same(network: DiffBIR, other: DiffBIR) -> None:
    expected = other.state_dict()
    assert network.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())
    tokens = torch.zeros(1, 77, dtype=torch.long)
    with torch.inference_mode():
        assert torch.equal(network.embed(tokens), other.embed(tokens))


@pytest.mark.parametrize("with_cond_encoder", [True, False])
@pytest.mark.parametrize("suffix", ["ckpt", "safetensors"])
def test_the_single_file(tmp_path: Path, tiny_diffbir: DiffBIR, suffix: str, with_cond_encoder: bool) -> None:
    path = tmp_path / f"general_full_v1.{suffix}"
    tensors = tiny_checkpoint(with_cond_encoder=with_cond_encoder) | {"betas": torch.zeros(1000)}
    if suffix == "ckpt":
        torch.save({"state_dict": tensors, "global_step": 1}, path)
    else:
        save_file({key: tensor.clone() for key, tensor in tensors.items()}, path)
    assert_same(load_whole(path, CONFIG), tiny_diffbir)


def test_the_condition_is_encoded_by_the_files_own_encoder(tmp_path: Path, tiny_diffbir: DiffBIR) -> None:
    tensors = tiny_checkpoint()
    tensors["cond_encoder.quant_conv.bias"] = tensors["cond_encoder.quant_conv.bias"] + 1
    torch.save(tensors, tmp_path / "a.ckpt")
    loaded = load_whole(tmp_path / "a.ckpt", CONFIG)
    assert torch.equal(loaded.vae.quant_conv.bias, tiny_diffbir.vae.quant_conv.bias + 1)


def test_a_base_file_with_control_and_first_stage(tmp_path: Path, tiny_diffbir: DiffBIR) -> None:
    tensors = tiny_checkpoint(with_cond_encoder=False)
    base = {key: value for key, value in tensors.items() if not key.startswith(("control_model.", "preprocess_model."))}
    torch.save({"state_dict": base}, tmp_path / "v2-1_512-ema-pruned.ckpt")
    control, swinir = write_control_and_swinir(tmp_path, tensors)
    assert_same(load_parts(tmp_path / "v2-1_512-ema-pruned.ckpt", control, swinir, CONFIG), tiny_diffbir)


@pytest.mark.parametrize("older", [False, True])
def test_a_diffusers_folder_with_control_and_first_stage(tmp_path: Path, tiny_diffbir: DiffBIR, older: bool) -> None:
    write_diffusers_folder(tmp_path / "base", tiny_diffbir, older=older)
    control, swinir = write_control_and_swinir(tmp_path, tiny_checkpoint())
    assert_same(load_parts(tmp_path / "base", control, swinir, CONFIG), tiny_diffbir)


def test_an_incomplete_diffusers_folder_is_missing_something(tmp_path: Path) -> None:
    (tmp_path / "base" / "unet").mkdir(parents=True)
    control, swinir = write_control_and_swinir(tmp_path, tiny_checkpoint())
    with pytest.raises(WeightsMissing, match="unet"):
        load_parts(tmp_path / "base", control, swinir, CONFIG)


def test_half_precision_files_are_widened(tmp_path: Path, tiny_diffbir: DiffBIR) -> None:
    torch.save({key: tensor.half() for key, tensor in tiny_checkpoint().items()}, tmp_path / "a.ckpt")
    loaded = load_whole(tmp_path / "a.ckpt", CONFIG)
    assert {tensor.dtype for tensor in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(loaded.unet.conv_in.weight, tiny_diffbir.unet.conv_in.weight, rtol=1e-3, atol=1e-4)


def test_whole_numbers_where_weights_belong_are_refused(tmp_path: Path) -> None:
    tensors = tiny_checkpoint()
    tensors["control_model.zero_convs.0.0.bias"] = torch.zeros(
        tensors["control_model.zero_convs.0.0.bias"].shape
    ).long()
    torch.save(tensors, tmp_path / "a.ckpt")
    with pytest.raises(WeightsCorrupt, match="int64"):
        load_whole(tmp_path / "a.ckpt", CONFIG)


def test_a_file_of_another_form_is_refused_by_its_first_strange_key(tmp_path: Path) -> None:
    control, _ = write_control_and_swinir(tmp_path, tiny_checkpoint())
    with pytest.raises(WeightsCorrupt, match=r"v1_general\.pth: the key time_embed\.0\.weight"):
        load_whole(control, CONFIG)
