"""The frozen prior in processes: read quickly by a fresh one, and made the same again by several."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from codec.bitstream.text.prior import write_prior

training = pytest.importorskip("training.fit_text_prior", reason="the training is not part of an installation")

TEN_ENTRIES = training.read_captions(training.caption_files()[0])[:10]
SAMPLE_SHA256 = "8ae7f896b2dee4e9fe2872f419a1a4d6fd7764ec7ce8cb80c2b6358eb1363b4c"


def test_loading_takes_less_than_a_second_in_a_fresh_process() -> None:
    program = (
        "import time; from codec.bitstream.text.prior import load_prior;"
        "start = time.process_time(); load_prior(); print(time.process_time() - start)"
    )
    root = Path(__file__).parents[3]
    took = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root)
    assert float(took.stdout) < 1


def test_the_training_makes_the_same_bytes_twice() -> None:
    words = training.vocabulary()[::50]
    files = [TEN_ENTRIES[:5], TEN_ENTRIES[5:]]
    first, second = (write_prior(training.make_prior(files, words, [])) for _ in range(2))
    assert first == second
    assert hashlib.sha256(first).hexdigest() == SAMPLE_SHA256
