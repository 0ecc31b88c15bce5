"""PyTorch without what traces networks restores the same picture, and is left alone where it is there already."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from codec.nets.loading import lean_torch

_RESTORE = """
import hashlib, sys
from pathlib import Path
from codec.nets.loading.lean_torch import leave_out_tracing
if sys.argv[1] == "lean":
    leave_out_tracing()
import numpy as np, torch
assert hasattr(torch._meta_registrations, "register_meta") != (sys.argv[1] == "lean")
from codec.bitstream.stream import Texts
from codec.decode.restore import RestoreRequest
from codec.decode.restorers import Restorers
from codec.options import DecodeOptions
from codec.weights.store import WeightsStore
coarse = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
options = DecodeOptions()
with Restorers(WeightsStore(Path(sys.argv[2]))).use(options) as restorer:
    picture = restorer.finish(restorer.begin(RestoreRequest(coarse, Texts(("",)), (), options, 0)))
print(hashlib.sha256(picture.tobytes()).hexdigest())
"""


def test_picture_is_the_same_without_what_traces_networks(tmp_path: Path) -> None:
    import torch

    if not torch.__version__.startswith(lean_torch._KNOWN):
        pytest.skip(f"nothing is left out of PyTorch {torch.__version__}")
    digests = {
        subprocess.run(
            [sys.executable, "-c", _RESTORE, how, str(tmp_path)],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for how in ("lean", "whole")
    }
    assert len(digests) == 1 and len(digests.pop().strip()) == 64


def test_what_is_imported_already_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    before = sys.modules[lean_torch._TRACING]
    lean_torch.leave_out_tracing()
    assert sys.modules[lean_torch._TRACING] is before and hasattr(torch, "nn")


def test_unknown_version_is_imported_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    modules: dict[str, object] = {}
    monkeypatch.setattr(lean_torch.sys, "modules", modules)
    monkeypatch.setattr(lean_torch.importlib.metadata, "version", lambda _name: "9.0.1")
    lean_torch.leave_out_tracing()
    assert modules == {}
