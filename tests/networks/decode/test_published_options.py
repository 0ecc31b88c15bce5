"""Options that the published decoders have, each against a plain re-statement of the published code, or its effect."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from tiny_networks import TEXTS, ask, quarter_maps, smooth, textured, tiny_networks
from watched_networks import WatchedNetworks

from codec.decode.diffusion.coarse_guidance import evenness, pull, step_of
from codec.decode.diffusion.networks import Stage
from codec.decode.diffusion.passes import Pass, plan_passes
from codec.decode.diffusion.picture import blended
from codec.decode.diffusion.restorer import DiffusionRestorer
from codec.decode.diffusion.sampling import Sampling
from codec.decode.diffusion.solvers import start
from codec.decode.diffusion.state import DiffusionState
from codec.decode.restore import RestoreRequest
from codec.decode.restore.colour import colour_fix_of
from codec.errors import OptionError
from codec.nets.diffbir.config import Prediction
from codec.options import ColourFix, MaskEdges, Solver


def noise(*shape: int, seed: int = 3) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def run(restorer: DiffusionRestorer, request: RestoreRequest) -> np.ndarray:
    return np.asarray(restorer.finish(restorer.begin(request)))


@pytest.fixture(scope="module")
def restorer() -> DiffusionRestorer:
    return DiffusionRestorer(tiny_networks())


def test_adain_is_the_published_normalisation_of_each_channel() -> None:
    picture, reference = noise(1, 3, 40, 56), 0.3 + 0.5 * noise(1, 3, 40, 56, seed=4) ** 2
    ours = colour_fix_of(ColourFix.ADAIN, picture, reference)
    flat, wanted = (each[0].flatten(1).double().numpy() for each in (picture, reference))
    deviation = np.sqrt(flat.var(axis=1, ddof=1, keepdims=True) + 1e-5)
    wanted_deviation = np.sqrt(wanted.var(axis=1, ddof=1, keepdims=True) + 1e-5)
    expected = (flat - flat.mean(axis=1, keepdims=True)) / deviation * wanted_deviation
    expected += wanted.mean(axis=1, keepdims=True)
    assert np.abs(ours(picture, reference)[0].flatten(1).numpy() - expected).max() < 1e-5
    strip = ours(picture[:, :, 7:11], reference[:, :, 7:11])
    assert torch.equal(strip, ours(picture, reference)[:, :, 7:11]), "strips are those of the whole"


def test_colour_fix_none_leaves_the_networks_own_colours() -> None:
    picture = noise(1, 3, 8, 8)
    assert colour_fix_of(ColourFix.NONE, picture, noise(1, 3, 8, 8, seed=5))(picture, picture) is picture


def test_hard_edges_weigh_every_pixel_as_the_published_mask_block() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[2:5, 3:6] = 1
    picture, restored = np.zeros((101, 67, 3), np.uint8), np.full((101, 67, 3), 255, np.uint8)
    hard = blended(picture, restored, mask, MaskEdges.HARD)
    # 101 = 8 x 12 + 5, 67 = 8 x 8 + 3: the first blocks are one pixel longer.
    rows, columns = [13] * 5 + [12] * 3, [9] * 3 + [8] * 5
    expected = np.repeat(np.repeat(mask * 255, rows, axis=0), columns, axis=1)
    assert np.array_equal(hard[..., 0], expected)
    soft = blended(picture, restored, mask)
    assert 0 < ((soft > 0) & (soft < 255)).mean() < 1 and set(np.unique(hard)) == {0, 255}


def test_soft_edges_give_about_a_quarter_of_a_picture_of_1024_another_weight() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[2:6, 2:6] = 1
    picture, restored = np.zeros((1024, 1024, 3), np.uint8), np.full((1024, 1024, 3), 255, np.uint8)
    differ = blended(picture, restored, mask, MaskEdges.HARD) != blended(picture, restored, mask)
    assert 0.2 < differ.any(axis=2).mean() < 0.35


@pytest.mark.parametrize("time", [999, 800, 400, 100, 0])
def test_rescaled_guidance_is_the_published_one(time: int) -> None:
    planned = Pass(("a",), 3, 7.0, Solver.EULER, rescales_guidance=True)
    expected = 1 + 7.0 * ((1 - math.cos(math.pi * ((1000 - time) / 1000) ** 5.0)) / 2)
    assert planned.guidance_at(time) == pytest.approx(expected)
    assert Pass(("a",), 3, 7.0, Solver.EULER).guidance_at(time) == 7.0
    assert Pass(("a",), 3, 0.5, Solver.EULER, rescales_guidance=True).guidance_at(time) == 0.5, "as published"


def test_prompts_stand_around_the_streams_own_texts() -> None:
    networks = WatchedNetworks()
    restorer = DiffusionRestorer(networks)
    networks.texts.clear()
    run(restorer, ask(textured(64, 64), steps=1, positive_prompt="sharp, 8k", negative_prompt="cartoon"))
    assert networks.texts == [f"{TEXTS.overall}, sharp, 8k", "cartoon"]
    staged = ask(textured(64, 64), schedule="staged", maps=quarter_maps(), positive_prompt="sharp")
    planned = plan_passes(staged, Sampling())
    assert [each.texts[0] for each in planned] == [f"{text}, sharp" for text in (*TEXTS.details, TEXTS.overall)]
    assert {each.negative_text for each in planned} == {"Blurry, Low Quality"}
    silent = ask(textured(64, 64), texts=type(TEXTS)((), ""), positive_prompt="sharp", negative_prompt="")
    assert [(each.texts, each.negative_text) for each in plan_passes(silent, Sampling())] == [(("sharp",), "")]


def weights_of(target: torch.Tensor) -> torch.Tensor:
    """`WeightedMSEGuidance._get_weight`, block by block, of a picture in [0, 1]."""
    grey = (target * torch.tensor([0.2989, 0.5870, 0.1140]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    padded = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    across = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
    down = torch.tensor([[1.0, 2, 1], [0, 0, 0], [-1, -2, -1]])
    magnitude = sum(F.conv2d(padded, kernel[None, None]) ** 2 for kernel in (across, down)) ** 0.5
    weights = torch.empty_like(magnitude)
    for row in range(0, magnitude.shape[2], 2):
        for column in range(0, magnitude.shape[3], 2):
            block = magnitude[..., row : row + 2, column : column + 2]
            weights[..., row : row + 2, column : column + 2] = 1 - torch.tanh(block.sum())
    return weights


def test_evenness_is_the_published_weight() -> None:
    picture = torch.from_numpy(textured(24, 32).transpose(2, 0, 1)[None] / np.float32(255))
    torch.testing.assert_close(evenness(picture), weights_of(picture), rtol=0, atol=1e-5)


def test_a_drawn_ancestral_step_is_the_published_one() -> None:
    """`apply_cond_fn` in picture space: the clean latents are moved, by the gradient over the weight that they have."""
    networks, scale = tiny_networks(), 40.0
    target = torch.from_numpy(textured(64, 64).transpose(2, 0, 1)[None] / np.float32(255))
    condition = networks.encode(target)
    ours = start(Solver.DDPM, 4, condition, torch.Generator().manual_seed(1), Prediction.EPS, zero_terminal_snr=False)
    predicted = noise(*condition.shape)
    x, sampler, index = ours.latents.clone(), ours._sampler, 3
    x0 = sampler.clean(x, predicted, index).requires_grad_()
    error = (2 * networks.decode(x0) - 1 - (2 * target - 1)).pow(2) * weights_of(target)
    (gradient,) = torch.autograd.grad(error.mean((1, 2, 3)).sum(), x0)
    moved = x0.detach() - 3000 * scale * gradient / float(sampler.from_clean[index])
    generator = torch.Generator().manual_seed(1)
    torch.randn(condition.shape, generator=generator)
    expected = sampler.from_clean[index] * moved + sampler.from_noisy[index] * x
    expected = expected + float(sampler.variance[index]) ** 0.5 * torch.randn(condition.shape, generator=generator)
    drawn = pull(networks.decode, ours.clean_of(predicted), target, target.numel())
    ours.advance(predicted, step_of(drawn, scale))
    plain = sampler.from_clean[index] * x0.detach()
    assert (expected - ours.latents).abs().max() < 1e-4 * expected.std()
    assert (moved - x0.detach()).abs().max() > 1e-3 * plain.std(), "the gradient is not nothing"


@pytest.mark.parametrize("solver", list(Solver))
def test_pictures_come_closer_to_the_cleaned_one_the_more_they_are_drawn(
    restorer: DiffusionRestorer, solver: Solver
) -> None:
    coarse = smooth(64, 64)
    clean = run(restorer, ask(coarse, stage="clean")).astype(float)
    errors = []
    for scale in (0.0, 2.0, 8.0):
        asked = ask(coarse, steps=4, solver=solver, coarse_guidance=scale, colour_fix="none")
        errors.append(((run(restorer, asked) - clean) ** 2).mean())
    assert errors[2] < errors[1] < errors[0]


def test_drawn_steps_are_counted_and_tiles_agree_with_the_whole() -> None:
    networks = WatchedNetworks()
    asked = ask(smooth(192, 192), res=192, steps=2, coarse_guidance=1.0, colour_fix="none")
    pictures = []
    for tile_px in (192, 128):
        made = DiffusionRestorer(networks, tile_px=tile_px)
        state = made.begin(asked)
        total = state.steps_total
        pictures.append(np.asarray(made.finish(state)).astype(int))
        assert state.steps_done == total == state.steps_total
        assert Stage.GUIDE in state.seconds
    assert pictures[0].shape == pictures[1].shape
    one = DiffusionRestorer(networks).begin(ask(smooth(64, 64), steps=3, coarse_guidance=1.0))
    assert one.steps_total == 1 + 2 + 3 * 2 + 1


def test_a_request_that_is_drawn_shares_denoising_with_one_that_is_not(restorer: DiffusionRestorer) -> None:
    requests = [ask(smooth(64, 64), steps=3, coarse_guidance=2.0), ask(textured(64, 64), steps=3)]
    alone = [run(restorer, request).astype(int) for request in requests]
    states: list[DiffusionState] = [restorer.begin(request) for request in requests]
    while not all(state.is_done for state in states):
        restorer.step(states)
    together = [np.asarray(state.picture).astype(int) for state in states]
    assert max(np.abs(one - other).max() for one, other in zip(alone, together, strict=True)) <= 1


def test_stages_are_the_pictures_on_the_way(restorer: DiffusionRestorer) -> None:
    coarse = textured(64, 64)
    networks = tiny_networks()
    clean = run(restorer, ask(coarse, stage="clean"))
    own = networks.clean(torch.from_numpy(coarse.transpose(2, 0, 1)[None] / np.float32(255)))
    assert np.array_equal(clean, (own[0].clamp(0, 1) * 255).permute(1, 2, 0).to(torch.uint8).numpy())
    staged = {"schedule": "staged", "maps": quarter_maps(), "steps": 4}
    state = restorer.begin(ask(coarse, **staged))
    seen = []
    while not state.is_done:
        before = state._pass_index
        restorer.step([state])
        if state._pass_index != before:
            seen.append(np.asarray(state.picture))
    for index, expected in enumerate(seen[:3], 1):
        assert np.array_equal(run(restorer, ask(coarse, **staged, stage=f"item-{index}")), expected)
    with pytest.raises(OptionError, match="maps of 0 items"):
        restorer.begin(ask(coarse, schedule="staged", stage="item-1"))


def test_every_published_option_changes_the_picture(restorer: DiffusionRestorer) -> None:
    asked: list[dict[str, object]] = [
        {},
        {"colour_fix": "adain"},
        {"colour_fix": "none"},
        {"mask_edges": "hard"},
        {"rescale_cfg": True},
        {"coarse_guidance": 5.0},
        {"positive_prompt": "sharp"},
        {"negative_prompt": "cartoon"},
        {"stage": "clean"},
    ]
    pictures = [
        run(restorer, ask(textured(128, 128), res=128, maps=quarter_maps(), steps=2, **options)).tobytes()
        for options in asked
    ]
    assert len(set(pictures)) == len(asked)
