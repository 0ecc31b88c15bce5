"""Every published form of a CLIP gives the same network; anything else is refused by name."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPModel

from codec.errors import WeightsCorrupt, WeightsMissing
from codec.nets.clip.weights import Details, clip_from_tensors, load_clip
from tests.networks.nets.tiny_clip import PICTURE_PX, SHARED, WIDTH, openai_tensors

Tensors = dict[str, torch.Tensor]

IN_PROJ = "visual.transformer.resblocks.3.attn.in_proj_weight"


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    return openai_tensors()


@pytest.fixture(scope="module")
def clip(tensors: Tensors) -> CLIPModel:
    return clip_from_tensors(tensors, "tiny")


@pytest.fixture(scope="module")
def folder(clip: CLIPModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As transformers saves it."""
    folder = tmp_path_factory.mktemp("transformers")
    clip.save_pretrained(folder)
    return folder


def assert_same(loaded: CLIPModel, clip: CLIPModel) -> None:
    ours, theirs = loaded.state_dict(), clip.state_dict()
    assert ours.keys() == theirs.keys()
    for name, parameter in theirs.items():
        assert ours[name].dtype == torch.float32
        assert torch.equal(ours[name], parameter), name
    ids = torch.tensor([[49406, 320, 2368, 49407]])
    pixels = torch.linspace(-1, 1, 3 * PICTURE_PX * PICTURE_PX).reshape(1, 3, PICTURE_PX, PICTURE_PX)
    expected = clip(input_ids=ids, pixel_values=pixels).logits_per_image
    assert torch.allclose(loaded(input_ids=ids, pixel_values=pixels).logits_per_image, expected, rtol=1e-5)


def test_sizes_are_read_off_the_tensors(clip: CLIPModel) -> None:
    vision, text = clip.config.vision_config, clip.config.text_config
    assert (vision.hidden_size, vision.num_hidden_layers, vision.num_attention_heads) == (WIDTH, 7, 1)
    assert (vision.image_size, vision.patch_size, clip.config.projection_dim) == (PICTURE_PX, 8, SHARED)
    assert (text.hidden_size, text.num_hidden_layers, text.num_attention_heads) == (WIDTH, 2, 1)
    assert not clip.training and not any(parameter.requires_grad for parameter in clip.parameters())


def test_packed_projection_is_query_key_and_value(clip: CLIPModel, tensors: Tensors) -> None:
    attention = clip.vision_model.encoder.layers[3].self_attn
    packed = torch.cat([attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight])
    assert torch.equal(packed, tensors[IN_PROJ])


def test_transformers_folder_gives_the_same_network(folder: Path, clip: CLIPModel) -> None:
    assert_same(load_clip(folder), clip)


def test_transformers_folder_with_pytorch_weights_is_read(clip: CLIPModel, folder: Path, tmp_path: Path) -> None:
    ids = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    torch.save(clip.state_dict() | ids, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    assert_same(load_clip(tmp_path), clip)


def test_openai_state_dict_gives_the_same_network(tensors: Tensors, clip: CLIPModel, tmp_path: Path) -> None:
    numbers = {name: torch.tensor(1) for name in ("input_resolution", "context_length", "vocab_size")}
    torch.save(tensors | numbers, tmp_path / "ViT-B-16.pt")
    assert_same(load_clip(tmp_path / "ViT-B-16.pt"), clip)


def test_openai_safetensors_give_the_same_network(tensors: Tensors, clip: CLIPModel, tmp_path: Path) -> None:
    save_file(tensors, tmp_path / "clip.safetensors")
    assert_same(load_clip(tmp_path / "clip.safetensors"), clip)


def test_halves_are_widened(tensors: Tensors) -> None:
    clip = clip_from_tensors({key: tensor.half() for key, tensor in tensors.items()}, "tiny")
    assert clip.dtype == torch.float32
    assert torch.equal(clip.visual_projection.weight, tensors["visual.proj"].half().float().T)


def test_folders_configuration_says_heads_and_activation(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"] |= {"num_attention_heads": 4, "hidden_act": "gelu"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    vision = load_clip(tmp_path).config.vision_config
    assert (vision.num_attention_heads, vision.hidden_act) == (4, "gelu")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda tensors: tensors.pop("visual.ln_pre.bias"), "vision_model.pre_layrnorm.bias"),
        (lambda tensors: tensors.pop(IN_PROJ), "layers.3.self_attn.k_proj.weight"),
        (lambda tensors: tensors.pop("visual.positional_embedding"), "visual.positional_embedding is missing"),
        (lambda tensors: tensors.update(surprise=torch.ones(1)), "surprise"),
        (lambda tensors: tensors.update({IN_PROJ: torch.ones(191, 64)}), IN_PROJ),
        (lambda tensors: tensors.update({"visual.proj": torch.ones(63, 32)}), "visual.proj"),
        (lambda tensors: tensors.update({"visual.proj": torch.ones(0, 0)}), "visual.proj"),
        (lambda tensors: tensors.update({"visual.positional_embedding": torch.ones(16, 64)}), "15 patches"),
        (lambda tensors: tensors.update({"token_embedding.weight": torch.ones(9, 64)}), "9 tokens"),
        (lambda tensors: tensors.pop("visual.conv1.weight"), "no CLIP"),
        (lambda tensors: tensors.update({"transformer.resblocks.9.ln_1.bias": torch.ones(64)}), "resblocks.9"),
    ],
)
def test_anything_but_a_whole_clip_is_refused_by_name(
    tensors: Tensors, damage: Callable[[Tensors], object], message: str
) -> None:
    damaged = dict(tensors)
    damage(damaged)
    with pytest.raises(WeightsCorrupt, match=message):
        clip_from_tensors(damaged, "tiny")


def test_resnet_variant_is_named(tensors: Tensors) -> None:
    with pytest.raises(WeightsCorrupt, match="ResNet"):
        clip_from_tensors({"visual.layer1.0.conv1.weight": torch.ones(1)}, "RN50.pt")


@pytest.mark.parametrize("details", [Details(vision_heads=3), Details(text_heads=0), Details(text_activation="relu")])
def test_details_that_cannot_be_are_refused(tensors: Tensors, details: Details) -> None:
    with pytest.raises(WeightsCorrupt):
        clip_from_tensors(tensors, "tiny", details)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"no.pt"):
        load_clip(tmp_path / "no.pt")
    with pytest.raises(WeightsMissing, match=r"config.json"):
        load_clip(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(WeightsMissing, match=r"model.safetensors"):
        load_clip(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"model_type": "bert"}', "1" * 2_000_000])
def test_configuration_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(WeightsCorrupt, match=r"config.json"):
        load_clip(tmp_path)
