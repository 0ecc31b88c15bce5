"""Pictures through learned codecs and back: what the decoder has is exactly what the encoder had."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from compressai.zoo.image import model_architectures
from PIL import Image

from codec.bitstream.stream import NetCoarse
from codec.errors import StreamCorrupt, StreamError, StreamLimitExceeded, StreamTruncated
from codec.nets.compression import rans
from codec.nets.compression.latents import Analysis
from codec.nets.compression.network import LearnedCodec, load_network
from codec.nets.compression.tables import Integers, Tables, gaussian_tables
from tests.networks.nets.compression_weights import ARCHITECTURES, load, photo, save_exercising, unchanging_state

REQUIRED = ["cheng2020-attn", "mbt2018-mean", "bmshj2018-hyperprior"]
GOLDEN = json.loads(Path(__file__).with_name("compression_golden.json").read_text())
SIZES = [(768, 512), (513, 769), (64, 64), (1, 1)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files with weights of every architecture."""
    folder = tmp_path_factory.mktemp("weights")
    for architecture in ARCHITECTURES:
        save_exercising(architecture, folder / architecture)
    return folder


@pytest.fixture(scope="module")
def codecs(folder: Path) -> dict[str, LearnedCodec]:
    """A codec of every architecture, loaded from its file."""
    return {architecture: load(architecture, folder / architecture) for architecture in ARCHITECTURES}


def _picture(width: int, height: int) -> Image.Image:
    return photo().resize((width, height), Image.Resampling.LANCZOS)


class _Listener:
    """A port that settles symbols as a writer does and remembers which tables they took."""

    def __init__(self) -> None:
        self.indexes: list[Integers] = []
        self.symbols: list[Integers] = []

    def exchange(self, tables: Tables, indexes: Integers, wanted: np.ndarray | None) -> Integers:
        assert wanted is not None
        symbols = np.rint(wanted).astype(np.int64)
        if tables is gaussian_tables():
            self.indexes.append(indexes.ravel())
            self.symbols.append(symbols.ravel())
        return symbols


@pytest.mark.parametrize("architecture", REQUIRED)
def test_weights_of_these_tests_exercise_the_coder(codecs: dict[str, LearnedCodec], architecture: str) -> None:
    analysis = codecs[architecture].analyse(np.asarray(photo()))
    port = _Listener()
    rows, columns = analysis.latent.shape[:2]

    codecs[architecture]._codec.coder.walk(rows, columns, port, analysis)

    assert (np.concatenate(port.symbols) != 0).mean() >= 0.3
    assert len(np.unique(np.concatenate(port.indexes))) >= 32


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_decoder_has_the_encoders_own_picture(
    codecs: dict[str, LearnedCodec], architecture: str, size: tuple[int, int]
) -> None:
    if architecture not in REQUIRED and size[0] > 64:
        pytest.skip("large pictures are for the three architectures that most depend on")
    codec, (width, height) = codecs[architecture], size
    picture = _picture(width, height)

    payload, latents = codec.write(codec.analyse(np.asarray(picture)))
    found = codec.read(payload, width, height)

    assert (found.latent == latents.latent).all()
    assert (found.hyper_symbols == latents.hyper_symbols).all()
    own, decoded = codec.synthesise(latents, width, height), codec.synthesise(found, width, height)
    assert own.shape == (height, width, 3)
    assert np.abs(own - decoded).max() == 0
    coarse = codec.compress(picture, 1)
    assert coarse == NetCoarse(1, payload)
    shown = np.asarray(codec.decompress(coarse, width, height))
    assert (shown == np.rint(own * 255)).all()


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name != "bmshj2018-factorized"])
def test_payload_is_no_larger_than_compressais_strings(folder: Path, architecture: str) -> None:
    model = model_architectures[architecture].from_state_dict(torch.load(folder / architecture)["state_dict"]).eval()
    samples = np.asarray(_picture(384, 256))
    picture = torch.from_numpy(samples.copy()).permute(2, 0, 1)[None].float() / 255.0
    with torch.inference_mode():
        strings = model.compress(picture)["strings"]

    payload = load(architecture, folder / architecture).compress(Image.fromarray(samples), 1).payload

    assert len(payload) < 1.005 * sum(len(string[0]) for string in strings)


def test_latent_is_compressais_but_for_rounding_of_means(folder: Path) -> None:
    architecture = "mbt2018-mean"
    model = model_architectures[architecture].from_state_dict(torch.load(folder / architecture)["state_dict"]).eval()
    codec = load(architecture, folder / architecture)
    samples = np.asarray(_picture(384, 256))
    picture = torch.from_numpy(samples.copy()).permute(2, 0, 1)[None].float() / 255.0
    with torch.inference_mode():
        latent = model.g_a(picture)
        means = model.h_s(model.entropy_bottleneck(model.h_a(latent), training=False)[0]).chunk(2, 1)[1]
        expected = (torch.round(latent - means) + means)[0].permute(1, 2, 0).numpy()

    _, latents = codec.write(codec.analyse(samples))

    differences = np.abs(latents.latent / 2**14 - expected)
    assert np.quantile(differences, 0.99) < 0.01


@pytest.mark.parametrize("architecture", REQUIRED)
def test_flipped_bits_are_errors(codecs: dict[str, LearnedCodec], architecture: str) -> None:
    codec = codecs[architecture]
    payload = codec.compress(_picture(64, 64), 1).payload
    places = {
        *range(0, 8 * len(payload), 8 * len(payload) // 150 + 1),
        *range(48),
        *range(8 * len(payload) - 32, 8 * len(payload)),
    }
    for bit in places:
        damaged = bytearray(payload)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(StreamError):
            codec.decompress(NetCoarse(1, bytes(damaged)), 64, 64)


def test_payload_cut_off_lengthened_or_of_another_picture_size_is_refused(codecs: dict[str, LearnedCodec]) -> None:
    codec = codecs["cheng2020-attn"]
    payload = codec.compress(_picture(96, 64), 1).payload

    for cut in (b"", payload[:5], payload[:6], payload[: len(payload) // 2 * 2 - 20]):
        with pytest.raises(StreamTruncated):
            codec.decompress(NetCoarse(1, cut), 96, 64)
    with pytest.raises(StreamCorrupt):
        codec.decompress(NetCoarse(1, payload + bytes(2)), 96, 64)
    for width, height in ((64, 64), (64, 96), (160, 64)):
        with pytest.raises(StreamError):
            codec.decompress(NetCoarse(1, payload), width, height)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_hostile_payloads_end_in_an_error(codecs: dict[str, LearnedCodec], architecture: str) -> None:
    generator = np.random.default_rng(11)
    payloads = [generator.bytes(2 * int(generator.integers(3, 300))) for _ in range(15)]
    payloads += [bytes(600), b"\xff" * 600, b"\0\1" + bytes(4)]
    for payload in payloads:
        with pytest.raises(StreamError):
            codecs[architecture].decompress(NetCoarse(1, payload), 48, 40)


def test_too_large_a_picture_is_refused_before_memory_is_taken(codecs: dict[str, LearnedCodec]) -> None:
    with pytest.raises(StreamLimitExceeded):
        codecs["mbt2018-mean"].decompress(NetCoarse(8, bytes(6)), 60_000, 60_000)


def test_other_weights_are_noticed(codecs: dict[str, LearnedCodec], folder: Path) -> None:
    state = torch.load(folder / "mbt2018-mean")["state_dict"]
    state["h_s.4.bias"] = state["h_s.4.bias"] * 1.01
    other = load_network("mbt2018-mean", state, b"1234")
    coarse = codecs["mbt2018-mean"].compress(_picture(128, 64), 1)

    with pytest.raises(StreamError):
        other.decompress(coarse, 128, 64)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_reduced_pictures_come_back_at_the_reduced_size(codecs: dict[str, LearnedCodec], scale: int) -> None:
    codec = codecs["mbt2018-mean"]

    coarse = codec.compress(_picture(203, 131), scale)

    assert coarse.scale == scale
    size = (-(-203 // scale), -(-131 // scale))
    assert codec.decompress(coarse, 203, 131).size == size
    assert coarse.payload == codec.compress(_picture(203, 131).resize(size, Image.Resampling.LANCZOS), 1).payload


def test_latents_beyond_all_bounds_are_cut_to_what_the_format_holds(codecs: dict[str, LearnedCodec]) -> None:
    codec = codecs["bmshj2018-hyperprior"]
    analysis = codec.analyse(np.asarray(_picture(32, 32)))
    assert analysis.hyper is not None
    wild = analysis.latent.copy()
    wild[0, 0, :3] = [1e9, -1e9, 3e38]

    payload, latents = codec.write(Analysis(wild, analysis.hyper))

    assert (latents.latent[0, 0, :3] == np.array([1, -1, 1]) * rans.VALUE_LIMIT * 2**14).all()
    assert (codec.read(payload, 32, 32).latent == latents.latent).all()


@pytest.mark.parametrize("architecture", GOLDEN)
def test_payload_of_version_1_decodes_for_ever(architecture: str) -> None:
    # Weights of integers alone, so that this holds on every machine.
    codec = load_network(architecture, unchanging_state(architecture, 8, 8), b"1234")
    golden = GOLDEN[architecture]

    latents = codec.read(bytes.fromhex(golden["payload"]), golden["width"], golden["height"])

    assert latents.check == golden["check"]
    assert hashlib.sha256(latents.latent.astype("<i4").tobytes()).hexdigest() == golden["latent"]
