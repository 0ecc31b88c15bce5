"""Transforms are CompressAI's, and tiles are the whole picture."""

import numpy as np
import pytest
import torch
from compressai.zoo.image import model_architectures

from codec.nets.compression import tiles
from codec.nets.compression.architectures import REACHES
from codec.nets.compression.latents import Latents
from codec.nets.compression.network import LearnedCodec, load_network
from tests.networks.nets.compression_weights import photo

TRANSFORMS = ["bmshj2018-factorized", "bmshj2018_factorized_relu", "cheng2020-anchor", "cheng2020-attn"]


def _pair(architecture: str, width: int = 16) -> tuple[torch.nn.Module, LearnedCodec]:
    torch.manual_seed(4)
    build = model_architectures[architecture]
    model = build(width) if architecture.startswith("cheng") else build(width, 20 if width == 16 else width)
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return model.eval().requires_grad_(False), load_network(architecture, model.state_dict(), b"1234")


def _latents(values: np.ndarray) -> Latents:
    return Latents((values * 2**14).astype(np.int32), np.zeros(0, dtype=np.int32))


@pytest.mark.parametrize("architecture", TRANSFORMS)
def test_transforms_agree_with_compressai(architecture: str) -> None:
    model, codec = _pair(architecture)
    samples = np.asarray(photo())[:192, :128]
    picture = torch.from_numpy(samples.copy()).permute(2, 0, 1)[None].float() / 255.0
    latent = model.g_a(picture)

    analysis = codec.analyse(samples)
    found = codec.synthesise(_latents(analysis.latent * 24), 128, 192)

    assert np.allclose(analysis.latent, latent[0].permute(1, 2, 0), rtol=1e-4, atol=1e-5)
    expected = model.g_s(latent * 24).clamp(0, 1)[0].permute(1, 2, 0).numpy()
    assert expected.std() > 0.005
    assert np.abs(found - expected).max() < 2e-4
    if analysis.hyper is not None:
        assert np.allclose(analysis.hyper, model.h_a(latent)[0].permute(1, 2, 0), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("architecture", TRANSFORMS)
def test_tiles_differ_from_the_whole_only_by_rounding(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, codec = _pair(architecture)
    samples = np.asarray(photo())[:500, :700]
    whole = codec.analyse(samples)
    values = np.random.default_rng(0).standard_normal(whole.latent.shape) * 4
    picture = codec.synthesise(_latents(values), 700, 500)

    monkeypatch.setattr(tiles, "_MOST_UNTILED", 1)
    monkeypatch.setattr(tiles, "_TILE_CHANNELS", 16 * 22)
    assert len(list(tiles.tile_spans(32, 44, width=16, reach=2))) == 4
    tiled = codec.analyse(samples)

    assert np.abs(tiled.latent - whole.latent).max() < 1e-5
    assert np.abs(codec.synthesise(_latents(values), 700, 500) - picture).max() < 1e-4
    assert picture.std() > 0.01


@pytest.mark.parametrize("architecture", sorted(REACHES))
def test_reaches_are_as_far_as_any_input_counts(architecture: str) -> None:
    # What is not a number spreads to all that depends on it.
    model, _ = _pair({name.replace("_", "-"): name for name in model_architectures}[architecture], 4)
    latent = torch.zeros(1, 4, 3, 31)
    latent[:, :, :, 15] = torch.nan
    picture = torch.zeros(1, 3, 48, 31 * 16)
    picture[:, :, :, 15 * 16 : 16 * 16] = torch.nan
    with torch.inference_mode():
        shown = model.g_s(latent)[0].isnan().any(0).any(0).nonzero().flatten()
        stored = model.g_a(picture)[0].isnan().any(0).any(0).nonzero().flatten()

    first, last = int(shown.min()) // 16, int(shown.max()) // 16
    found = (max(15 - int(stored.min()), int(stored.max()) - 15), max(15 - first, last - 15))

    assert found == REACHES[architecture]
