"""Training of stage 1: what it begins with, what its loss punishes, and a run that is stopped and goes on."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from safetensors.torch import save_file

from codec.nets.lite.rrdbnet import RRDBNet
from training import lite_stage1
from training.lite_stage1_loss import Discriminator, _patterns, discriminator_loss, generator_loss, unit
from training.lite_stage1_pictures import CoarsePairs
from training.lite_stage1_teacher import network_of_teacher, tail_of, trunk_above

torch.set_num_threads(1)


def teachers_tensors(blocks: int) -> dict[str, torch.Tensor]:
    """Random weights under the published names."""
    torch.manual_seed(9)
    shapes = {"conv_first": (3, 64), "conv_last": (64, 3)}
    shapes |= dict.fromkeys(("conv_body", "conv_up1", "conv_up2", "conv_hr"), (64, 64))
    for block in range(blocks):
        for dense in (1, 2, 3):
            for place in range(1, 6):
                shapes[f"body.{block}.rdb{dense}.conv{place}"] = (32 + 32 * place, 64 if place == 5 else 32)
    tensors = {}
    for name, (inputs, outputs) in shapes.items():
        convolution = torch.nn.Conv2d(inputs, outputs, 3, padding=1)
        tensors |= {f"{name}.weight": convolution.weight.detach(), f"{name}.bias": convolution.bias.detach()}
    return tensors


def teachers_picture(tensors: dict[str, torch.Tensor], reduced: torch.Tensor) -> torch.Tensor:
    """What the published network makes of a picture at a quarter of the size, written down once more."""

    def conv(values: torch.Tensor, name: str) -> torch.Tensor:
        return F.conv2d(values, tensors[f"{name}.weight"], tensors[f"{name}.bias"], padding=1)

    first = values = conv(reduced, "conv_first")
    block = 0
    while f"body.{block}.rdb1.conv1.weight" in tensors:
        begun = values
        for dense in (1, 2, 3):
            seen = [values]
            for place in range(1, 5):
                seen.append(F.leaky_relu(conv(torch.cat(seen, 1), f"body.{block}.rdb{dense}.conv{place}"), 0.2))
            values = values + 0.2 * conv(torch.cat(seen, 1), f"body.{block}.rdb{dense}.conv5")
        values = begun + 0.2 * values
        block += 1
    values = first + conv(values, "conv_body")
    for name in ("conv_up1", "conv_up2"):
        values = F.leaky_relu(conv(F.interpolate(values, scale_factor=2, mode="nearest"), name), 0.2)
    return conv(F.leaky_relu(conv(values, "conv_hr"), 0.2), "conv_last")


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    save_file(teachers_tensors(2), tmp_path / "teacher.safetensors")
    return tmp_path / "teacher.safetensors"


def test_training_begins_at_the_teachers_picture_of_the_coarse_pictures_means(teacher: Path) -> None:
    coarse = torch.rand(1, 3, 40, 24)

    with torch.no_grad():
        picture = network_of_teacher(teacher)(coarse)
        expected = teachers_picture(teachers_tensors(2), F.avg_pool2d(coarse, 4))

    assert torch.allclose(picture, expected, atol=1e-5)
    assert expected.std() > 1e-3


def test_file_without_all_layers_is_no_teacher(tmp_path: Path) -> None:
    tensors = teachers_tensors(1)
    del tensors["conv_hr.bias"]
    save_file(tensors, tmp_path / "half.safetensors")

    with pytest.raises(ValueError, match=r"full_size\.bias"):
        network_of_teacher(tmp_path / "half.safetensors")


@pytest.mark.parametrize("block", [0, 1, 2])
def test_every_parameter_learns_once_or_is_frozen(block: int) -> None:
    network = RRDBNet(blocks=2)

    learning = [*trunk_above(network, block), *tail_of(network)]

    ids = [id(value) for value in learning]
    assert len(set(ids)) == len(ids)
    assert {id(value) for value in network.parameters() if value.requires_grad} == set(ids)
    assert (len(ids) == len(list(network.parameters()))) == (block == 0)


def test_pattern_in_step_with_the_grid_is_punished_and_the_originals_own_is_not() -> None:
    torch.manual_seed(1)
    original = 0.4 + 0.05 * torch.rand(2, 3, 152, 152)
    woven = original.clone()
    woven[..., ::4, :] += 0.05

    assert _patterns(original, original) == 0
    assert _patterns(woven, woven) == 0
    assert _patterns(woven, original) > 0.1
    # A wave of 5.33 pixels is none of the network's.
    other = original + 0.05 * torch.sin(torch.arange(152) * 2 * torch.pi * 12 / 64)[:, None]
    assert _patterns(other, original) < 0.1 * _patterns(woven, original)


def test_discriminator_learns_to_tell_and_the_generators_loss_follows() -> None:
    torch.manual_seed(2)
    channels = (64, 128, 256, 512, 512)
    real = [torch.rand(2, count, 8, 8) for count in channels]
    restored = [torch.rand(2, count, 8, 8) ** 3 for count in channels]
    discriminator = Discriminator()
    optimiser = torch.optim.Adam(discriminator.parameters(), 1e-3)
    before = generator_loss(discriminator(unit(restored))).item()
    for _ in range(15):
        loss = discriminator_loss(discriminator(unit(real)), discriminator(unit(restored)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    assert loss.item() < 1.0
    assert generator_loss(discriminator(unit(restored))).item() > before + 0.5


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name, (width, height) in {"a": (90, 74), "b": (76, 100), "small": (30, 200)}.items():
        samples = random.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
        Image.fromarray(samples).resize((width, height), Image.Resampling.BICUBIC).save(folder / f"{name}.png")
    return folder


def test_coarse_pictures_are_made_once_and_lie_over_their_originals(pictures: Path, tmp_path: Path) -> None:
    pairs = CoarsePairs(pictures, tmp_path / "cache", edge=64, multiple_px=4)

    coarse, original = pairs.draw(12, np.random.default_rng(1))
    made = {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").iterdir()}
    again, _ = pairs.draw(12, np.random.default_rng(1))

    assert coarse.shape == original.shape == (12, 3, 64, 64)
    assert made and all(file.suffix == ".avif" for file in made)
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").iterdir()} == made
    assert torch.equal(coarse, again)
    error = (coarse - original).square().mean()
    assert 0 < error < 0.25 * (coarse - original.roll(1, 0)).square().mean()


def perceptual_arrays() -> dict[str, np.ndarray]:
    """Weights of VGG16's shapes, LPIPS' heads and DISTS' factors with nothing in them but noise."""
    random = np.random.default_rng(3)
    channels = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
    arrays = {}
    for layer in range(13):
        shape = (channels[layer + 1], channels[layer], 3, 3)
        scale = np.float32(np.sqrt(2 / (9 * channels[layer])))
        arrays[f"vgg.conv{layer}.weight"] = random.standard_normal(shape, np.float32) * scale
        arrays[f"vgg.conv{layer}.bias"] = np.zeros(shape[0], np.float32)
    for head, count in enumerate((64, 128, 256, 512, 512)):
        arrays[f"vgg.lin{head}"] = np.full(count, 0.1, np.float32)
    return arrays | {f"dists.{name}": np.full(1475, 0.1, np.float32) for name in ("alpha", "beta")}


def test_run_that_is_stopped_goes_on_and_only_frozen_blocks_stay(
    pictures: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "perceptual.npz", **perceptual_arrays())
    words = [
        "lite_stage1", "--pictures", pictures, "--cache", tmp_path / "cache", "--perceptual",
        tmp_path / "perceptual.npz", "--run", tmp_path / "run", "--teacher", teacher, "--frozen", 1, "--batch", 1,
        "--edge", 72, "--threads", 1, "--device", "cpu",
    ]  # fmt: skip
    for steps in (1, 2):
        monkeypatch.setattr(sys, "argv", [*map(str, words), "--steps", str(steps)])
        lite_stage1.main()

    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    before = network_of_teacher(teacher).state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, state["network"][f"restorer.{name}"])}
    assert state["step"] == 2
    assert not any(name.startswith(("first.", "blocks.0.")) for name in changed)
    assert {"blocks.1.dense.0.fused.weight", "beside.1.weight", "last.weight"} <= changed
    assert set(state["optimisers"]) == {"trunk", "tail", "discriminator"}
