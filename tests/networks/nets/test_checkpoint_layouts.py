"""Checkpoints as trainers of all kinds leave them: wherever the tensors are, and whatever lies beside them."""

import datetime
import io
import pickle
import types
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from codec.errors import WeightsCorrupt
from codec.nets.loading.checkpoint import read_tensors
from codec.weights.trial import try_weights
from tests.networks.nets.test_checkpoint import repacked, save

STATE = OrderedDict({"g_a.0.weight": torch.arange(24.0).reshape(2, 3, 4), "h_a.2.bias": torch.ones(5)})
OTHER = OrderedDict((name, tensor + 1) for name, tensor in STATE.items())


def assert_same(found: dict[str, torch.Tensor]) -> None:
    assert set(found) == set(STATE)
    assert all(torch.equal(found[name].float(), tensor) for name, tensor in STATE.items())


def below(prefix: str, state: dict[str, torch.Tensor] = STATE) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    "content",
    [
        {"module": STATE, "ds_config": {"a": 1}, "global_steps": 3},
        {"state_dict": {"net": STATE}},
        {"model": {"state_dict": STATE}},
        {"checkpoint": {"model": STATE}, "epoch": 3},
        {"netG_state_dict": STATE},
        {"ema": {"shadow": STATE, "decay": 0.9}},
        {"my_codec": STATE, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []}},
        {"my_codec": STATE, "loss_net": OTHER, "discriminator": OTHER},
        [STATE],
        (STATE, 3),
    ],
    ids=lambda content: str(list(content))[:40],
)
def test_tensors_are_found_in_whichever_section_has_them(tmp_path: Path, content: Any) -> None:
    assert_same(read_tensors(save(tmp_path / "net.pth", content)))


def test_two_sections_of_which_none_is_known_are_told_and_none_is_guessed(tmp_path: Path) -> None:
    with pytest.raises(WeightsCorrupt, match="2 places, student, teacher"):
        read_tensors(save(tmp_path / "net.pth", {"student": STATE, "teacher": OTHER}))


@pytest.mark.parametrize(
    "prefix", ["autoencoder.", "student.", "model.codec.", "image_model.net.", "_forward_module.", "net_g.module."]
)
def test_what_stands_before_all_names_is_no_part_of_them(tmp_path: Path, prefix: str) -> None:
    assert_same(read_tensors(save(tmp_path / "net.pth", {"state_dict": below(prefix)})))


def test_networks_that_training_alone_needs_are_left_out(tmp_path: Path) -> None:
    beside = {
        "criterion.vgg.0.weight": torch.ones(3),
        "loss_fn.lin0.weight": torch.ones(2),
        "netD.0.bias": torch.ones(1),
    }
    assert_same(read_tensors(save(tmp_path / "net.ckpt", {"state_dict": below("net.") | beside})))


def test_of_a_network_and_its_average_the_average_is_taken(tmp_path: Path) -> None:
    counts = {"initted": torch.tensor(True), "step": torch.tensor(3)}
    content = counts | below("online_model.", OTHER) | below("ema_model.")
    assert_same(read_tensors(save(tmp_path / "net.pt", content)))


@pytest.mark.parametrize("is_legacy", [False, True])
def test_what_trainers_note_beside_the_tensors_does_no_harm(tmp_path: Path, is_legacy: bool) -> None:
    notes = {
        "output": Path("/runs/1"), "date": datetime.datetime(2024, 5, 1), "seen": {1, 2}, "crop": slice(1, 2),
        "args": types.SimpleNamespace(lr=1e-4), "counts": Counter(a=1), "history": np.arange(4), "best": np.float64(3),
        "range": range(3), "phase": complex(1, 2),
    }  # fmt: skip
    path = save(tmp_path / "net.pth", {"state_dict": STATE, "notes": notes}, is_legacy=is_legacy)
    assert_same(read_tensors(path))


def _of_other_order(path: Path) -> Path:
    out = path.with_name("other.pth")
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(out, "w") as copy:
        for entry in whole.infolist():
            is_order = entry.filename.endswith("/byteorder")
            copy.writestr(entry.filename, b"big" if is_order else whole.read(entry))
    return out


def _of_other_order_before(path: Path) -> Path:
    data = path.read_bytes()
    stream = io.BytesIO(data)
    pickle.load(stream), pickle.load(stream)
    begun = stream.tell()
    machine = pickle.load(stream) | {"little_endian": False}
    path.write_bytes(data[:begun] + pickle.dumps(machine, protocol=2) + data[stream.tell() :])
    return path


@pytest.mark.parametrize(("change", "is_legacy"), [(_of_other_order, False), (_of_other_order_before, True)])
def test_numbers_of_the_other_byte_order_are_refused(
    tmp_path: Path, change: Callable[[Path], Path], is_legacy: bool
) -> None:
    path = change(save(tmp_path / "net.pth", STATE, is_legacy=is_legacy))
    with pytest.raises(WeightsCorrupt, match="byte order"):
        read_tensors(path)


@pytest.mark.parametrize("operation", [b"\x96" + (1 << 33).to_bytes(8, "little"), b"\x97", b"N\x98"])
def test_memory_is_not_made_for_what_a_pickle_claims(tmp_path: Path, operation: bytes) -> None:
    path = repacked(save(tmp_path / "net.pth", STATE), data_pkl=b"\x80\x05" + operation + b".")
    with pytest.raises(WeightsCorrupt, match="PyTorch does not use"):
        read_tensors(path)


def test_bit_that_flipped_on_the_way_is_found_when_a_file_is_taken_in(tmp_path: Path) -> None:
    path = save(tmp_path / "net.pth", STATE)
    data = bytearray(path.read_bytes())
    data[data.index(np.float32(5.0).tobytes()) + 3] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(WeightsCorrupt, match="checksum"):
        try_weights(path)
