"""Our DiffBIR gives the figures of the published one, from the same weights."""

import numpy as np
import pytest
import torch
from figures import TOLERANCE, assert_agrees, figures
from weights import uniform

from codec.decode.diffusion.ddpm import SpacedDDPM
from codec.decode.restore.colour import fix_colours
from codec.nets.clip.tokenizer import clip_tokenizer
from codec.nets.diffbir.network import LATENT_PX, DiffBIR

ABOUT, FIGURES = figures("diffbir")
TEXTS = ABOUT.get("texts", ["a red house by the lake", "Blurry, Low Quality"])


def unit_picture(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.from_numpy(((uniform(key, shape) + 1) / 2).astype(np.float32))


def control_residuals(network: DiffBIR) -> list[torch.Tensor]:
    inputs = (torch.from_numpy(FIGURES[name]) for name in ("x_noisy", "t", "c_txt", "c_img"))
    with torch.inference_mode():
        return network.control(*inputs)


def test_noisy_latents_of_the_figures_are_made_of_the_hash() -> None:
    noisy = 1.7 * uniform("input.x_noisy", FIGURES["x_noisy"].shape)
    assert np.abs(noisy - FIGURES["x_noisy"]).max() < 1e-6


def test_texts_are_embedded_as_published(tiny_diffbir: DiffBIR) -> None:
    tokens = torch.tensor(clip_tokenizer().encode_padded(TEXTS))
    with torch.inference_mode():
        assert_agrees(tiny_diffbir.embed(tokens), FIGURES["c_txt"])


def test_a_condition_is_encoded_as_published(tiny_diffbir: DiffBIR) -> None:
    height, width = (LATENT_PX * side for side in FIGURES["c_img"].shape[2:])
    picture = unit_picture("input.image", (1, 3, height, width))
    with torch.inference_mode():
        assert_agrees(tiny_diffbir.encode(torch.cat((picture, picture.flip(3)))), FIGURES["c_img"])


def test_the_control_network_has_thirteen_outputs(tiny_diffbir: DiffBIR) -> None:
    assert len(control_residuals(tiny_diffbir)) == sum(name.startswith("control_") for name in FIGURES) == 13


@pytest.mark.parametrize("index", range(13))
def test_each_control_residual_has_the_published_mean_and_deviation(tiny_diffbir: DiffBIR, index: int) -> None:
    residual = control_residuals(tiny_diffbir)[index]
    mean, deviation = FIGURES[f"control_{index:02d}_mean_std"]
    assert float(residual.mean()) == pytest.approx(mean, abs=TOLERANCE * deviation)
    assert float(residual.std()) == pytest.approx(deviation, rel=TOLERANCE)


def test_noise_is_predicted_as_published(tiny_diffbir: DiffBIR) -> None:
    inputs = (torch.from_numpy(FIGURES[name]) for name in ("x_noisy", "t", "c_txt", "c_img"))
    with torch.inference_mode():
        assert_agrees(tiny_diffbir.predict(*inputs), FIGURES["eps"])


def test_from_text_and_picture_to_noise_in_one_go_as_published(tiny_diffbir: DiffBIR) -> None:
    height, width = (LATENT_PX * side for side in FIGURES["c_img"].shape[2:])
    picture = unit_picture("input.image", (1, 3, height, width))
    noisy, times = torch.from_numpy(FIGURES["x_noisy"]), torch.from_numpy(FIGURES["t"])
    with torch.inference_mode():
        texts = tiny_diffbir.embed(torch.tensor(clip_tokenizer().encode_padded(TEXTS)))
        condition = tiny_diffbir.encode(torch.cat((picture, picture.flip(3))))
        assert_agrees(tiny_diffbir.predict(noisy, times, texts, condition), FIGURES["eps"])


def test_without_control_the_noise_is_another(tiny_diffbir: DiffBIR) -> None:
    inputs = (torch.from_numpy(FIGURES[name]) for name in ("x_noisy", "t", "c_txt", "c_img"))
    with torch.inference_mode():
        uncontrolled = tiny_diffbir.predict(*inputs, control_scale=0.0).numpy()
    assert np.abs(uncontrolled - FIGURES["eps"]).max() > 0.1 * FIGURES["eps"].std()


def test_latents_are_decoded_as_published(tiny_diffbir: DiffBIR) -> None:
    with torch.inference_mode():
        picture = tiny_diffbir.decode(torch.from_numpy(FIGURES["c_img"]))
    assert_agrees((2 * picture - 1)[:, :, ::2, ::2], FIGURES["decoded"])


def test_colours_are_fixed_as_published() -> None:
    shape = FIGURES["wavelet"].shape
    fixed = fix_colours(unit_picture("input.content", shape), unit_picture("input.style", shape))
    assert_agrees(fixed, FIGURES["wavelet"])


@pytest.mark.parametrize("steps", [3, 40])
def test_the_spaced_sampler_has_the_published_constants(steps: int) -> None:
    sampler = SpacedDDPM.make(steps)
    ours = {
        "sqrt_recip_alphas_cumprod": np.sqrt(1 / sampler.signal),
        "sqrt_recipm1_alphas_cumprod": np.sqrt(1 / sampler.signal - 1),
        "posterior_variance": sampler.variance,
        "posterior_mean_coef1": sampler.from_clean,
        "posterior_mean_coef2": sampler.from_noisy,
    }
    np.testing.assert_array_equal(sampler.timesteps, FIGURES[f"spaced{steps}_timesteps"])
    for name, constants in ours.items():
        np.testing.assert_allclose(constants, FIGURES[f"spaced{steps}_{name}"], rtol=1e-6, err_msg=name)
