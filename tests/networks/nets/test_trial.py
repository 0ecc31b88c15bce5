"""Files of weights are read once in a child process before they are taken in: what harms, harms the child."""

import json
import struct
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from codec.errors import WeightsCorrupt
from codec.weights.manifest import Part
from codec.weights.store import WeightsStore
from codec.weights.trial import try_weights
from tests.networks.nets.test_checkpoint import repacked, save

_RUNS_CODE = b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R."
_ENDLESS_HASH = b"\x80\x02})" + b"2\x86" * 60 + b"K\x01s."
"""A tuple of two tuples of two tuples: 200 bytes whose hash takes 2**60 steps when it becomes a key."""


def _safetensors(header: bytes, content: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + content


def test_whole_files_are_taken(tmp_path: Path) -> None:
    tensors = OrderedDict(a=torch.ones(24), b=torch.zeros(3, 3))
    save_file(dict(tensors), tmp_path / "net.safetensors")
    try_weights(tmp_path / "net.safetensors")
    try_weights(save(tmp_path / "net.pth", tensors))


@pytest.mark.parametrize("pickled", [_RUNS_CODE, _ENDLESS_HASH], ids=["runs-code", "endless-hash"])
def test_hostile_pickle_is_refused_soon_and_nothing_is_taken_in(tmp_path: Path, pickled: bytes) -> None:
    path = repacked(save(tmp_path / "net.pth", OrderedDict(a=torch.ones(24))), data_pkl=pickled)
    store = WeightsStore(tmp_path / "store")
    with pytest.raises(WeightsCorrupt, match=r"refused|ended the process"):
        store.add(
            path, name="mine", part=Part.COARSE, architecture="mbt2018-mean", check=lambda file: try_weights(file, 2)
        )
    assert "mine" not in store.records()


@pytest.mark.parametrize(
    "content",
    [
        _safetensors(b"{" + b'"a":{' * 200_000),
        _safetensors(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
        _safetensors(json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()),
        _safetensors(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,1e999]}}', bytes(4)),
        _safetensors(b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}', bytes(3)),
        b"PK\x03\x04" + bytes(1000),
        b"",
    ],
    ids=["unclosed", "nested", "terabytes", "infinite", "cut", "zip-of-nothing", "empty"],
)
def test_hostile_frame_is_refused_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net"
    path.write_bytes(content)
    with pytest.raises(WeightsCorrupt) as refusal:
        try_weights(path)
    assert "ended the process" not in str(refusal.value) and len(str(refusal.value)) < 400
