"""The learned codecs against CompressAI's own coder: seconds, bytes, and memory for a large picture.

    python -m bench.coarse [--picture FILE] [--architecture NAME] [--width N] [--threads 2] [--repeat 3]
                           [--megapixels 40] [--json FILE]

Both run the same weights on the same picture in the same process, in turns, and the best of `--repeat` runs counts:
whatever else the machine does slows both. The weights are random and scaled until they exercise the coder (see
bench.coarse_weights), saved and loaded again. The large picture is encoded and decoded in processes of their own;
`--megapixels 0` leaves it out.
"""

import argparse
import hashlib
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import skimage.data
import torch
from PIL import Image

from codec.bitstream.stream import NetCoarse
from codec.nets.compression import rans
from codec.nets.compression.network import LearnedCodec, load_network
from codec.nets.compression.tables import gaussian_tables, scale_table

SIZE = (768, 512)
_OVERHEAD_BYTES = (1_000, 10_000, 100_000)


class _Timed(torch.nn.Module):
    """A transform that remembers how long its last call took."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner, self.seconds = inner, 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        started = time.perf_counter()
        result: torch.Tensor = self.inner(x)
        self.seconds = time.perf_counter() - started
        return result


def measure(architecture: str, weights: Path, picture: Image.Image, repeat: int) -> dict[str, float]:
    """Seconds, bytes and their ratios for both coders, the best of `repeat` runs each."""
    from compressai.zoo.image import model_architectures

    state = torch.load(weights, weights_only=True)["state_dict"]
    model = model_architectures[architecture].from_state_dict(state).eval()
    model.g_s = _Timed(model.g_s)
    codec = _load(architecture, weights)
    samples = np.asarray(picture)
    tensor = torch.from_numpy(samples.copy()).permute(2, 0, 1)[None].float() / 255.0
    rows = []
    for _ in range(repeat):
        row: dict[str, float] = {}
        with torch.inference_mode():
            started = time.perf_counter()
            theirs = model.compress(tensor)
            compressed = time.perf_counter()
            model.decompress(theirs["strings"], theirs["shape"])
            row["theirs_compress"], row["theirs_decompress"] = compressed - started, time.perf_counter() - compressed
            row["theirs_synthesis"] = model.g_s.seconds
            row["theirs_entropy"] = row["theirs_decompress"] - model.g_s.seconds
        started = time.perf_counter()
        payload, own = codec.write(codec.analyse(samples))
        compressed = time.perf_counter()
        latents = codec.read(payload, *picture.size)
        read = time.perf_counter()
        decoded = codec.synthesise(latents, *picture.size)
        row["ours_compress"], row["ours_entropy"] = compressed - started, read - compressed
        row["ours_synthesis"] = time.perf_counter() - read
        row["ours_decompress"] = row["ours_entropy"] + row["ours_synthesis"]
        row["difference"] = float(np.abs(codec.synthesise(own, *picture.size) - decoded).max())
        rows.append(row)
    best = {key: min(row[key] for row in rows) for key in rows[0]}
    best["difference"] = max(row["difference"] for row in rows)
    best["ours_bytes"] = len(payload)
    best["theirs_bytes"] = sum(len(string[0]) for string in theirs["strings"])
    for stage in ("entropy", "decompress", "compress"):
        best[f"{stage}_ratio"] = best[f"theirs_{stage}"] / best[f"ours_{stage}"]
    return best


def measure_overhead() -> list[dict[str, float]]:
    """Payload bytes beyond what the probabilities of its symbols say, for payloads of usual sizes."""
    tables, generator = gaussian_tables(), np.random.default_rng(0)
    found = []
    for target in _OVERHEAD_BYTES:
        # About half a bit a symbol, as at low rates.
        indexes = generator.integers(0, 12, 8 * target * 3)
        symbols = np.rint(generator.standard_normal(len(indexes)) * scale_table()[indexes]).astype(np.int64)
        symbols = np.clip(symbols, tables.low[indexes], tables.high[indexes])
        entries = tables.first[indexes] + symbols - tables.low[indexes]
        bits = np.cumsum(16 - np.log2(tables.starts[entries + 1] - tables.starts[entries]))
        count = int(np.searchsorted(bits, 8 * target))
        encoder = rans.Encoder()
        encoder.encode(tables, indexes[:count], symbols[:count])
        payload = len(encoder.finish(0x5A5A5A5A))
        ideal = float(bits[count - 1]) / 8
        found.append({"payload_bytes": payload, "overhead_bytes": payload - ideal})
    return found


def measure_memory(architecture: str, weights: Path, megapixels: float) -> dict[str, float]:
    """Seconds and peak resident memory of encoding and decoding a picture of that size."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        payload = Path(folder) / "payload"
        for stage in ("encode", "decode"):
            arguments = ["--child", stage, architecture, str(weights), str(megapixels), str(payload)]
            threads = ["--threads", str(torch.get_num_threads())]
            command = [sys.executable, "-W", "ignore", "-m", "bench.coarse", *threads, *arguments]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found |= {f"{stage}_{key}": value for key, value in json.loads(done.stdout).items()}
    return found


def _child(stage: str, architecture: str, weights: str, megapixels: str, payload: str) -> None:
    codec = _load(architecture, Path(weights))
    width = math.ceil((float(megapixels) * 1e6 * 4 / 3) ** 0.5)
    height = math.ceil(width * 3 / 4)
    started = time.perf_counter()
    if stage == "encode":
        picture = Image.fromarray(skimage.data.coffee()).resize((width, height), Image.Resampling.BICUBIC)
        started = time.perf_counter()
        Path(payload).write_bytes(codec.compress(picture, 1).payload)
    else:
        codec.decompress(NetCoarse(1, Path(payload).read_bytes()), width, height)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "peak_bytes": peak, "payload_bytes": Path(payload).stat().st_size}))


def _load(architecture: str, weights: Path) -> LearnedCodec:
    digest = hashlib.sha256(weights.read_bytes()).digest()
    return load_network(architecture, torch.load(weights, weights_only=True), digest)


def _print(result: dict[str, float], size: tuple[int, int]) -> None:
    print(f"{'':34}{'CompressAI':>12}{'this':>12}{'ratio':>8}")
    for name, stage in (
        ("encode, seconds", "compress"),
        ("decode, all but synthesis, seconds", "entropy"),
        ("decode, synthesis, seconds", "synthesis"),
        ("decode, whole, seconds", "decompress"),
    ):
        theirs, ours = result[f"theirs_{stage}"], result[f"ours_{stage}"]
        print(f"{name:34}{theirs:12.2f}{ours:12.2f}{theirs / ours:7.1f}x")
    theirs, ours = result["theirs_bytes"], result["ours_bytes"]
    print(f"{'bytes':34}{theirs:12.0f}{ours:12.0f}{100 * (ours / theirs - 1):+7.2f}%")
    print(f"{'bits a pixel':34}{8 * theirs / math.prod(size):12.3f}{8 * ours / math.prod(size):12.3f}")
    print(f"largest difference between the encoder's own picture and the decoder's: {result['difference']:g}")


def main() -> None:
    """Print the tables; write everything as JSON too when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path, help="the default is a photo that comes with scikit-image")
    parser.add_argument("--architecture", default="cheng2020-attn")
    parser.add_argument("--width", type=int, default=128, help="N of the architecture")
    parser.add_argument("--depth", type=int, help="M of the architecture; the default is N, or 3/2 N where they differ")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--megapixels", type=float, default=40.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", category=FutureWarning)
    torch.set_num_threads(arguments.threads)
    if arguments.child:
        _child(*arguments.child)
        return
    from bench.coarse_weights import make_model

    photo = Image.open(arguments.picture) if arguments.picture else Image.fromarray(skimage.data.coffee())
    picture = photo.convert("RGB").resize(SIZE, Image.Resampling.LANCZOS)
    architecture, width = arguments.architecture, arguments.width
    depth = arguments.depth or (width if architecture.startswith("cheng") else width * 3 // 2)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pth.tar"
        torch.save({"state_dict": make_model(architecture, width, depth, picture=picture).state_dict()}, weights)
        result: dict[str, object] = {"architecture": architecture, "width": width, "threads": arguments.threads}
        print(f"{architecture}, N = {width}, {SIZE[0]}x{SIZE[1]}, {arguments.threads} threads")
        timed = measure(architecture, weights, picture, arguments.repeat)
        result |= timed
        _print(timed, SIZE)
        result["overhead"] = measure_overhead()
        for row in measure_overhead():
            print(f"overhead of a payload of {row['payload_bytes']} bytes: {row['overhead_bytes']:.1f} bytes")
        if arguments.megapixels:
            large = measure_memory(architecture, weights, arguments.megapixels)
            result["large"] = large
            for stage in ("encode", "decode"):
                seconds, peak = large[f"{stage}_seconds"], large[f"{stage}_peak_bytes"] / 1e9
                print(f"{arguments.megapixels:g} megapixels, {stage}: {seconds:.0f} s, peak memory {peak:.2f} GB")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
