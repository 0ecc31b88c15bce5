"""The same file decodes to the same symbols with other numbers of threads, libraries and instruction sets."""

import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.networks.nets.compression_weights import load, photo, save_exercising

ROOT = Path(__file__).resolve().parents[3]
WIDTH, HEIGHT = 213, 169
CODECS = ["cheng2020-attn", "mbt2018-mean", "bmshj2018-hyperprior"]

# Threads, oneDNN, instruction sets of PyTorch, MKL and OpenBLAS.
SETTINGS = [
    (
        "1",
        "on",
        {"ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "OPENBLAS_CORETYPE": "Nehalem"},
    ),
    ("2", "off", {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "OPENBLAS_CORETYPE": "Haswell"}),
    ("2", "on", {"ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "MKL_CBWR": "COMPATIBLE"}),
    ("1", "off", {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "ONEDNN_MAX_CPU_ISA": "SSE41"}),
]


def _read_in(threads: str, one_dnn: str, environment: dict[str, str], jobs: str) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.nets.read_compressed", threads, one_dnn, jobs],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, str]]:
    """Files of weights and payloads as a reader's argument, and the digests of what was written."""
    folder = tmp_path_factory.mktemp("elsewhere")
    jobs, digests = [], {}
    samples = np.asarray(photo().resize((WIDTH, HEIGHT)))
    for architecture in CODECS:
        save_exercising(architecture, folder / architecture)
        codec = load(architecture, folder / architecture)
        payload, latents = codec.write(codec.analyse(samples))
        (folder / f"{architecture}.payload").write_bytes(payload)
        jobs.append(
            {
                "architecture": architecture,
                "weights": str(folder / architecture),
                "payload": str(folder / f"{architecture}.payload"),
                "width": WIDTH,
                "height": HEIGHT,
            }
        )
        digests[architecture] = hashlib.sha256(latents.latent.tobytes() + latents.hyper_symbols.tobytes()).hexdigest()
    return json.dumps(jobs), digests


def test_symbols_do_not_depend_on_threads_libraries_or_instruction_sets(written: tuple[str, dict[str, str]]) -> None:
    jobs, digests = written
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda setting: _read_in(*setting, jobs), SETTINGS))

    # The settings took hold: this would prove nothing if all processes ran the same instructions.
    assert len({result.pop("capability") for result in results}) > 1
    assert results == [digests] * len(SETTINGS)
