"""The diffusion restorer gives the same file in another process."""

import hashlib
import subprocess
import sys
from pathlib import Path

from codec.bitstream import Maps, PixelCoarse, Stream
from codec.bitstream.container import pack
from codec.decode.pipeline import decode
from codec.decode.restore import get_restorer
from codec.options import DecodeOptions, RestorerName, Solver
from codec.picture.save import Provenance, save_picture
from tests.networks.decode.tiny_networks import TEXTS, quarter_maps, tiny_networks

ROOT = Path(__file__).parents[3]
MASKS = tuple(mask.tobytes() for mask in quarter_maps())
DATA = pack(Stream(60, 40, PixelCoarse(6, 4, 3, bytes(range(24)) * 3), TEXTS, Maps(8, MASKS))).data


def digest() -> str:
    """SHA-256 of what networks made here restore; called in another process too."""
    restorer = get_restorer(RestorerName.DIFFUSION, tiny_networks())
    options = DecodeOptions(restorer=RestorerName.DIFFUSION, res=64, solver=Solver.DDPM, steps=4)
    decoded = decode(DATA, options, restorer=restorer)
    assert decoded.generative and decoded.picture.size == (60, 40)
    file = save_picture(decoded.picture, "png", Provenance("diffusion", decoded.stream_sha256, decoded.seed, True))
    return hashlib.sha256(file).hexdigest()


def test_same_stream_gives_the_same_bytes_in_another_process() -> None:
    code = "from tests.integration.decode.test_restorer_processes import digest; print(digest())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=170, check=True
    )
    assert done.stdout.strip() == digest()
