"""Seconds and memory of one encode and one decode, each in a process of its own that has loaded nothing before.

    python -m bench.quality_speed encode PICTURE OUT [--profile lite] [--rate 2]
    python -m bench.quality_speed decode FILE [--profile lite]

Prints one JSON document; `bench.quality` reads it.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_RUNS = 2
"""The first run of a network prepares what later ones use; both are told."""

_TIMEOUT_SECONDS = 900


def speed_of(picture: Path, profile: str, rate: int) -> dict[str, dict[str, Any]]:
    """`encode` and `decode`, each with import, load and run seconds and peak bytes, measured in fresh processes."""
    with tempfile.TemporaryDirectory(prefix="misc-speed-") as folder:
        file = Path(folder) / "picture.misc"
        words = ["--profile", profile, "--rate", str(rate)]
        return {
            "encode": _in_process("encode", str(picture), str(file), *words),
            "decode": _in_process("decode", str(file), *words),
        }


def _in_process(*words: str) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", "-m", "bench.quality_speed", *words]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
    if ended.returncode != 0:
        raise SystemExit(f"{' '.join(words)} failed: {ended.stderr.strip().splitlines()[-1:]}")
    return dict(json.loads(ended.stdout))


def _encode(picture: Path, out: Path, profile: str, rate: int) -> dict[str, Any]:
    begun = time.perf_counter()
    from cli.local.paths import weights_store
    from codec.encode.dependencies import EncodeDependencies, resolve
    from codec.encode.pipeline import encode
    from codec.metrics.own import settings_of
    from codec.nets.tagger.load import warm_up
    from codec.options import Profile
    from codec.picture.open import open_picture

    imported = time.perf_counter()
    store = weights_store()
    (setting,) = [each for each in settings_of(store, profile=Profile(profile)) if each.rate == rate]
    dependencies = resolve(EncodeDependencies(), setting.encode, store)
    warm_up(store)
    loaded = time.perf_counter()
    runs = []
    for _ in range(_RUNS):
        started = time.perf_counter()
        encoded = encode(open_picture(picture), setting.encode, dependencies=dependencies)
        runs.append(time.perf_counter() - started)
    out.write_bytes(encoded.data)
    return _told(begun, imported, loaded, runs) | {"stages": encoded.seconds, "bytes": len(encoded.data)}


def _decode(file: Path, profile: str) -> dict[str, Any]:
    begun = time.perf_counter()
    from cli.local.networks import restorers
    from cli.local.paths import weights_store
    from codec.bitstream import unpack
    from codec.decode.pipeline import decode
    from codec.metrics.own import restorer_here
    from codec.nets.compression.load import find_in
    from codec.options import DecodeOptions, Profile

    imported = time.perf_counter()
    data = file.read_bytes()
    find_network = find_in(weights_store())
    wanted = unpack(data).stream.coarse_network
    if wanted is not None:
        find_network(wanted)
    options = DecodeOptions(profile=Profile(profile), restorer=restorer_here(restorers(), Profile(profile)))
    with restorers().use(options) as restorer:
        loaded = time.perf_counter()
        runs = []
        for _ in range(_RUNS):
            started = time.perf_counter()
            decoded = decode(data, options, restorer=restorer, find_network=find_network)
            runs.append(time.perf_counter() - started)
    return _told(begun, imported, loaded, runs) | {"stages": decoded.seconds, "restorer": decoded.restorer}


def _told(begun: float, imported: float, loaded: float, runs: list[float]) -> dict[str, Any]:
    return {
        "import_seconds": imported - begun,
        "load_seconds": loaded - imported,
        "first_seconds": runs[0],
        "next_seconds": runs[-1],
        "peak_bytes": _peak_bytes(),
    }


def _peak_bytes() -> int:
    """The most memory that this process has held; the kernel's own count, since rusage also has the parent's in it."""
    status = Path("/proc/self/status")
    if status.is_file():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Measure one of the two in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["encode", "decode"])
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--profile", default="lite")
    parser.add_argument("--rate", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.what == "encode":
        figures = _encode(arguments.files[0], arguments.files[1], arguments.profile, arguments.rate)
    else:
        figures = _decode(arguments.files[0], arguments.profile)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
