"""Our transforms are CompressAI's, their fast form is the plain one, and tiles are the whole picture."""

import numpy as np
import pytest
import torch
from compressai.zoo.image import model_architectures

from codec.nets.compression import tiles
from codec.nets.compression.latents import Latents
from codec.nets.compression.network import LearnedCodec, load_network
from tests.unit.nets.compression_weights import photo

TRANSFORMS = ["bmshj2018-factorized", "bmshj2018_factorized_relu", "cheng2020-anchor", "cheng2020-attn"]


def _pair(architecture: str) -> tuple[torch.nn.Module, LearnedCodec]:
    torch.manual_seed(4)
    build = model_architectures[architecture]
    model = build(8) if architecture.startswith("cheng") else build(8, 12)
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
    found = codec.synthesise(_latents(analysis.latent * 8), 128, 192)

    assert np.allclose(analysis.latent, latent[0].permute(1, 2, 0), rtol=1e-4, atol=1e-5)
    expected = model.g_s(latent * 8).clamp(0, 1)[0].permute(1, 2, 0).numpy()
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
    monkeypatch.setattr(tiles, "_TILE_CHANNELS", 8 * 14)
    assert len(list(tiles.tile_spans(32, 44, width=8, reach=2))) == 12
    tiled = codec.analyse(samples)

    assert np.abs(tiled.latent - whole.latent).max() < 1e-5
    assert np.abs(codec.synthesise(_latents(values), 700, 500) - picture).max() < 1e-4
    assert picture.std() > 0.01
