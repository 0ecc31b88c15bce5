"""The staged schedule, step by step against a plain re-statement of the published sampler (NumPy, networks as a black
box): DiffBIR v1's `SpacedSampler.sample` with `fixed_small` variance inside MISC's `sr_pipe`."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from weights import uniform

from codec.bitstream.stream import Texts
from codec.decode.diffusion.diffbir import DiffBIRNetworks
from codec.decode.diffusion.networks import Networks, Stage
from codec.decode.diffusion.restorer import DiffusionRestorer
from codec.decode.diffusion.state import DiffusionState
from codec.decode.restore import RestoreRequest
from codec.nets.diffbir.network import DiffBIR
from codec.options import DecodeOptions

Array = NDArray[np.float64]
TEXTS = Texts(("a red door", "an old clock", "a sleeping cat"), "a red house by the lake")
NEGATIVE = "Blurry, Low Quality"
WIDTH, HEIGHT, RES = 70, 50, 64
OVERALL_STEPS = 6
SEED = 2026
MASKS = [
    np.kron(mask, np.ones((4, 4))).astype(np.uint8) for mask in ([[1, 0], [0, 0]], [[0, 1], [0, 1]], [[0, 0], [1, 0]])
]


class SteadyNetworks:
    """The tiny networks, whose noise is mostly the one that latents of unit deviation have.

    Random networks foretell noise that is not there, and latents grow twentyfold. With trained ones, and with these,
    they keep the deviation of a picture's latents.
    """

    def __init__(self, networks: DiffBIRNetworks) -> None:
        self.inner = networks
        betas = np.linspace(0.00085**0.5, 0.0120**0.5, 1000) ** 2
        self.levels = torch.from_numpy(np.sqrt(1 - np.cumprod(1 - betas))).float()

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def predict(self, noisy: torch.Tensor, times: torch.Tensor, *others: object) -> torch.Tensor:
        own = self.inner.predict(noisy, times, *others)
        return self.levels[times.long()].view(-1, 1, 1, 1) * noisy + 0.1 * own


class Published:
    """What the published code does with one picture, text, number of steps and guidance."""

    def __init__(self, networks: Networks, noise: Callable[[tuple[int, ...]], Array]) -> None:
        self.networks = networks
        self.noise = noise

    def schedule(self, steps: int) -> dict[str, Array]:
        """`make_schedule`: betas between the used timesteps, and what follows from them."""
        betas = np.linspace(0.00085**0.5, 0.0120**0.5, 1000) ** 2
        everything = np.cumprod(1 - betas)
        position, used = 0.0, []
        for _ in range(steps):
            used.append(round(position))
            position += 999 / (steps - 1)
        last, spaced = 1.0, []
        for timestep in used:
            spaced.append(1 - everything[timestep] / last)
            last = everything[timestep]
        beta = np.array(spaced)
        alphas = np.cumprod(1 - beta)
        previous = np.append(1.0, alphas[:-1])
        return {
            "timesteps": np.array(used),
            "sqrt_recip": np.sqrt(1 / alphas),
            "sqrt_recipm1": np.sqrt(1 / alphas - 1),
            "variance": beta * (1 - previous) / (1 - alphas),
            "mean_coef1": beta * np.sqrt(previous) / (1 - alphas),
            "mean_coef2": (1 - previous) * np.sqrt(1 - beta) / (1 - alphas),
        }

    def condition(self, picture: NDArray[np.uint8]) -> tuple[Array, Array]:
        """`auto_resize`, `pad`, stage 1 and the condition encoder: the stage-1 picture and the latent."""
        ratio = RES / min(picture.shape[:2])
        size = [int(np.ceil(side * ratio)) for side in (picture.shape[1], picture.shape[0])]
        enlarged = np.array(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
        padded = np.zeros((*(int(np.ceil(side / 64)) * 64 for side in enlarged.shape[:2]), 3), np.uint8)
        padded[: enlarged.shape[0], : enlarged.shape[1]] = enlarged
        control = torch.from_numpy(padded.transpose(2, 0, 1)[None] / 255.0).float()
        cleaned = self.networks.clean(control)
        return cleaned.numpy().astype(np.float64), self.networks.encode(cleaned).numpy().astype(np.float64)

    def samples(self, condition: Array, text: str, steps: int, guidance: float) -> Iterator[Array]:
        """`p_sample` from pure noise: the latents after each step."""
        constants = self.schedule(steps)
        x = self.noise(condition.shape)
        for index in reversed(range(steps)):
            guided = self.eps(x, constants["timesteps"][index], text, condition)
            unguided = self.eps(x, constants["timesteps"][index], NEGATIVE, condition)
            eps = unguided + guidance * (guided - unguided)
            x0 = constants["sqrt_recip"][index] * x - constants["sqrt_recipm1"][index] * eps
            mean = constants["mean_coef1"][index] * x0 + constants["mean_coef2"][index] * x
            x = mean + np.sqrt(constants["variance"][index]) * self.noise(x.shape) if index else mean
            yield x

    def eps(self, x: Array, timestep: float, text: str, condition: Array) -> Array:
        noisy, latent = (torch.from_numpy(values).float() for values in (x, condition))
        vectors = self.networks.embed([text])[:, None]
        return self.networks.predict(noisy, torch.tensor([int(timestep)]), vectors, latent).numpy().astype(np.float64)

    def picture(self, latents: Array, cleaned: Array, shape: tuple[int, int]) -> NDArray[np.uint8]:
        """Decoding, the wavelet colour fix, both axes cropped, and the way back to the picture's own size."""
        decoded = self.networks.decode(torch.from_numpy(latents).float()).numpy()[0].astype(np.float64)
        fixed = (decoded - blurred(decoded)) + blurred(cleaned[0])
        ratio = RES / min(shape)
        height, width = (int(np.ceil(side * ratio)) for side in shape)
        levels = (fixed.clip(0, 1).transpose(1, 2, 0) * 255).astype(np.uint8)[:height, :width]
        return np.array(Image.fromarray(levels).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def blurred(picture: Array) -> Array:
    """The lowest of five wavelet bands: repeated blurs by [1, 2, 1] / 4 with holes, edges repeated."""
    height, width = picture.shape[1:]
    for reach in (1, 2, 4, 8, 16):
        padded = np.pad(picture, ((0, 0), (reach, reach), (reach, reach)), mode="edge")
        total = np.zeros_like(picture)
        for row, down in enumerate((1, 2, 1)):
            for column, across in enumerate((1, 2, 1)):
                top, left = row * reach, column * reach
                total += down * across / 16 * padded[:, top : top + height, left : left + width]
        picture = total
    return picture


def noise_of(seed: int) -> Callable[[tuple[int, ...]], Array]:
    generator = torch.Generator().manual_seed(seed)
    return lambda shape: torch.randn(shape, generator=generator).numpy().astype(np.float64)


def picture_at(seed_name: str) -> NDArray[np.uint8]:
    coarse = Image.fromarray(((uniform(seed_name, (6, 9, 3)) + 1) * 127.5).astype(np.uint8))
    return np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))


def request(*, maps: list[NDArray[np.uint8]], steps: int | None = OVERALL_STEPS) -> RestoreRequest:
    options = DecodeOptions(restorer="diffusion", schedule="staged", res=RES, steps=steps)
    return RestoreRequest(picture_at("staged.coarse"), TEXTS, tuple(maps), options, SEED)


def run_to(stage: Stage, restorer: DiffusionRestorer, state: DiffusionState) -> None:
    while state.stage is not stage:
        restorer.step([state])


@pytest.fixture(scope="module")
def restorer(tiny_diffbir: DiffBIR) -> DiffusionRestorer:
    torch.set_num_threads(1)
    return DiffusionRestorer(DiffBIRNetworks(tiny_diffbir))


@pytest.mark.parametrize("is_steady", [True, False], ids=["unit deviation", "random"])
@torch.inference_mode()
def test_four_passes_are_the_published_sampler_step_by_step(tiny_diffbir: DiffBIR, is_steady: bool) -> None:
    torch.set_num_threads(1)
    networks: Networks = DiffBIRNetworks(tiny_diffbir)
    networks = SteadyNetworks(networks) if is_steady else networks
    restorer = DiffusionRestorer(networks)
    published = Published(networks, noise_of(SEED))
    state = restorer.begin(request(maps=MASKS))
    passes = [(detail, 3, 3.5, mask) for detail, mask in zip(TEXTS.details, MASKS, strict=True)]
    for text, steps, guidance, mask in [*passes, (TEXTS.overall, OVERALL_STEPS, 7.0, None)]:
        before = np.asarray(state.picture).copy()
        cleaned, condition = published.condition(before)
        run_to(Stage.DIFFUSE, restorer, state)
        for expected in published.samples(condition, text, steps, guidance):
            restorer.step([state])
            assert not is_steady or expected.std() < 1.2
            tolerance = 1e-4 if is_steady else 1e-4 * expected.std()
            assert np.abs(state.latents.numpy() - expected).max() < tolerance
        assert state.stage is Stage.DECODE
        restorer.step([state])
        painted = published.picture(expected, cleaned, (HEIGHT, WIDTH)).astype(np.float64)
        if mask is not None:
            inside = Image.fromarray(mask * np.uint8(255)).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
            share = np.asarray(inside)[..., None] / 255.0
            painted = before + share * (painted - before)
        assert np.abs(np.asarray(state.picture) - painted).max() <= 1.5
    assert state.is_done and state.steps_done == state.steps_total


def test_without_maps_there_is_the_overall_pass_alone_with_forty_steps(restorer: DiffusionRestorer) -> None:
    state = restorer.begin(request(maps=[], steps=None))
    run_to(Stage.DIFFUSE, restorer, state)
    assert state.steps_total - state.steps_done == 40 + 1


def test_an_item_changes_nothing_far_from_its_map(restorer: DiffusionRestorer) -> None:
    state = restorer.begin(request(maps=MASKS))
    run_to(Stage.DECODE, restorer, state)
    restorer.step([state])
    changed = np.asarray(state.picture) != picture_at("staged.coarse")
    assert changed[: HEIGHT // 2 - 8, : WIDTH // 2 - 8].mean() > 0.9
    assert not changed[HEIGHT // 2 + 8 :].any() and not changed[:, WIDTH // 2 + 8 :].any()
