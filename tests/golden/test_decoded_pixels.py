"""Pixels that streams were once decoded to, and payloads that learned codecs once wrote.

`decoded/` holds pictures and streams that never change; new ones are added by
`python -m tests.golden.test_decoded_pixels`, which writes only those that are missing.
"""

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from codec.bitstream.container import pack, unpack
from codec.bitstream.stream import Maps, NetCoarse, PixelCoarse, Stream, Texts
from codec.decode.diffusion.restorer import DiffusionRestorer
from codec.decode.pipeline import decode
from codec.nets.compression.latents import Analysis
from codec.options import DecodeOptions, RestorerName
from tests.golden.fixed_networks import CODEC_DIGEST, fixed_codec, fixed_restorer_networks
from tests.parity.weights import uniform

FOLDER = Path(__file__).parent
DECODED = FOLDER / "decoded"

SMOOTH = ["pixel-default", "pixel-64-blocks-quick-networks", "ref-webp"]
DIFFUSION = {
    "fast": DecodeOptions(restorer=RestorerName.DIFFUSION, res=64, steps=3),
    "staged": DecodeOptions(restorer=RestorerName.DIFFUSION, schedule="staged", res=64, steps=3),
}
NET = ["mbt2018-mean", "cheng2020-attn"]

WIDTH, HEIGHT = 94, 75
"""5 x 6 positions of the latent, 2 x 2 of the hyperprior."""

EVERY = 5
"""Of the pixels that the restorer smooth gives, every fifth row and column is kept."""

LATENTS = {
    "mbt2018-mean": "648cfedb1a99945c9a7b7b3a006270c9672b44c2224114eea9f6db3fc63cf683",
    "cheng2020-attn": "9c18a2d3b29ff4a85dfa7a03616de5e60dc3520e1944c8301b02bf3602ce2264",
}
"""SHA-256 of the latents in units as the payload document counts them, 4 bytes each, lowest first."""


def smoothed(stem: str) -> NDArray[np.uint8]:
    data = (FOLDER / f"{stem}.misc").read_bytes()
    return np.asarray(decode(data, DecodeOptions(restorer=RestorerName.SMOOTH)).picture)[::EVERY, ::EVERY]


@cache
def restorer() -> DiffusionRestorer:
    return DiffusionRestorer(fixed_restorer_networks(), tile_px=128)


def diffused(schedule: str, by: DiffusionRestorer | None = None) -> NDArray[np.uint8]:
    data = (DECODED / "diffusion.misc").read_bytes()
    return np.asarray(decode(data, DIFFUSION[schedule], restorer=by or restorer()).picture)


def diffusion_stream() -> bytes:
    """72 x 48 pixels with two items in opposite corners."""
    samples = ((uniform("golden.samples", (4, 6, 3)) + 1) * 16).astype(np.uint8)
    masks = np.zeros((2, 8, 8), np.uint8)
    masks[0, :4, :4] = masks[1, 4:, 4:] = 1
    maps = Maps(8, tuple(mask.tobytes() for mask in masks))
    texts = Texts(("a red door", "an old clock"), "a house by the sea in winter")
    return pack(Stream(72, 48, PixelCoarse(6, 4, 3, samples.tobytes()), texts, maps)).data


def analysis() -> Analysis:
    """The latent that the golden payloads hold, hashed instead of analysed, so that it is the same everywhere."""
    latent = 6 * uniform("golden.latent", (5, 6, 8)) ** 3
    return Analysis(latent.astype(np.float32), (4 * uniform("golden.hyper", (2, 2, 8)) ** 3).astype(np.float32))


def net_stream(architecture: str) -> bytes:
    payload, _ = fixed_codec(architecture).write(analysis())
    stream = Stream(WIDTH, HEIGHT, NetCoarse(1, payload), Texts((), "A net."), coarse_network=CODEC_DIGEST)
    return pack(stream).data


def net_pixels(architecture: str, data: bytes) -> NDArray[np.uint8]:
    coarse = unpack(data).stream.coarse
    assert isinstance(coarse, NetCoarse)
    return np.asarray(fixed_codec(architecture).decompress(coarse, WIDTH, HEIGHT))


def golden_pixels(name: str) -> NDArray[np.int64]:
    return np.asarray(Image.open(DECODED / f"{name}.png")).astype(int)


@pytest.mark.parametrize("stem", SMOOTH)
def test_smooth_restores_the_pixels_it_always_did(stem: str) -> None:
    # Float32 sums and libraries' resampling may round a value to the next level.
    difference = np.abs(smoothed(stem) - golden_pixels(f"smooth-{stem}"))
    assert difference.max() <= 1 and difference.mean() < 0.01


@pytest.mark.parametrize("schedule", DIFFUSION)
def test_diffusion_restores_the_pixels_it_always_did(schedule: str) -> None:
    # The same networks in float64 give pixels that differ by at most one level, by 0.004 on average at 600 x 400; the
    # float32 of another machine or number of threads lies between.
    difference = np.abs(diffused(schedule) - golden_pixels(f"diffusion-{schedule}"))
    assert difference.max() <= 2 and difference.mean() < 0.04


@pytest.mark.parametrize("architecture", NET)
def test_learned_codecs_write_the_bytes_they_always_did(architecture: str) -> None:
    assert net_stream(architecture) == (DECODED / f"net-{architecture}.misc").read_bytes()


@pytest.mark.parametrize("architecture", NET)
def test_streams_of_learned_codecs_hold_the_latents_they_always_did(architecture: str) -> None:
    coarse = unpack((DECODED / f"net-{architecture}.misc").read_bytes()).stream.coarse
    assert isinstance(coarse, NetCoarse)
    latents = fixed_codec(architecture).read(coarse.payload, WIDTH, HEIGHT)
    assert hashlib.sha256(latents.latent.astype("<i4").tobytes()).hexdigest() == LATENTS[architecture]


@pytest.mark.parametrize("architecture", NET)
def test_streams_of_learned_codecs_show_the_pixels_they_always_did(architecture: str) -> None:
    pixels = net_pixels(architecture, (DECODED / f"net-{architecture}.misc").read_bytes())
    difference = np.abs(pixels - golden_pixels(f"net-{architecture}"))
    assert difference.max() <= 1 and difference.mean() < 0.01


def _add_missing() -> None:
    DECODED.mkdir(exist_ok=True)
    if not (DECODED / "diffusion.misc").exists():
        (DECODED / "diffusion.misc").write_bytes(diffusion_stream())
    pictures = {f"smooth-{stem}": smoothed(stem) for stem in SMOOTH}
    pictures |= {f"diffusion-{schedule}": diffused(schedule) for schedule in DIFFUSION}
    for architecture in NET:
        path = DECODED / f"net-{architecture}.misc"
        if not path.exists():  # Written once, whatever is changed later.
            path.write_bytes(net_stream(architecture))
        pictures[f"net-{architecture}"] = net_pixels(architecture, path.read_bytes())
    for name, pixels in pictures.items():
        if not (DECODED / f"{name}.png").exists():
            Image.fromarray(pixels).save(DECODED / f"{name}.png", optimize=True)


if __name__ == "__main__":
    _add_missing()
