"""Loading tensors from files that are whole, damaged, boastful, or want to run something."""

import collections
import io
import json
import os
import pickle
import struct
import sys
import tarfile
import types
import zipfile
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from codec.errors import WeightsCorrupt, WeightsMissing
from codec.nets.loading.checkpoint import plain_names, read_checkpoint, read_tensors, unwrap_state

STATE = {
    "g_a.0.weight": torch.arange(24, dtype=torch.float32).reshape(2, 3, 2, 2),
    "scale": torch.tensor(0.5, dtype=torch.float16),
    "entropy_bottleneck._offset": torch.tensor([-3, 4], dtype=torch.int32),
    "nothing": torch.zeros(0, 4),
}


class Wrecker:
    """Runs code when it is unpickled by a careless reader."""

    target = Path("unset")

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.target),))


def save(path: Path, content: Any, *, is_legacy: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not is_legacy)
    return path


def repacked(path: Path, **changes: bytes | None) -> Path:
    """The zip with entries replaced (`data_pkl` for `data.pkl`), added or, for None, left out."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
        root = archive.namelist()[0].split("/")[0]
    for name, content in changes.items():
        full = f"{root}/{name.replace('_', '.')}"
        entries.pop(full, None)
        if content is not None:
            entries[full] = content
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def assert_same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor] = STATE) -> None:
    assert set(found) == set(wanted)
    for key, tensor in wanted.items():
        assert found[key].dtype == tensor.dtype
        assert torch.equal(found[key], tensor)
        assert not found[key].requires_grad


def test_classes_that_libraries_allowed_do_not_take_the_stand_ins_places(tmp_path: Path) -> None:
    content = {"state_dict": STATE, "seen": collections.defaultdict(list, a=[1]), "args": Namespace(lr=0.1)}
    path = save(tmp_path / "net.pth.tar", content, is_legacy=False)
    with torch.serialization.safe_globals([collections.defaultdict, list, Namespace]):
        assert_same(read_tensors(path))
        assert collections.defaultdict in torch.serialization.get_safe_globals()


@pytest.mark.parametrize("is_legacy", [False, True])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 12, "best": 1.5},
        lambda state: {"network": state},
        lambda state: {"model_state_dict": collections.OrderedDict(state)},
        lambda state: {key: torch.nn.Parameter(t, requires_grad=t.is_floating_point()) for key, t in state.items()},
        lambda state: {"state_dict": state, "args": Namespace(lr=0.1), "seen": collections.defaultdict(list, a=[1])},
        lambda state: {"state_dict": state, "loss": np.float64(0.25), "step": np.int64(7)},
    ],
    ids=["bare", "state_dict", "network", "model_state_dict", "parameters", "trainer", "numpy"],
)
def test_every_published_layout_gives_the_same_tensors(tmp_path: Path, wrap: Any, is_legacy: bool) -> None:
    assert_same(read_tensors(save(tmp_path / "net.pth.tar", wrap(STATE), is_legacy=is_legacy)))


def test_safetensors_give_the_same_tensors(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "net.safetensors")

    assert_same(read_tensors(tmp_path / "net.safetensors"))


def test_ending_of_the_name_does_not_matter(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "net.ckpt")

    assert_same(read_tensors(tmp_path / "net.ckpt"))


def test_tensors_of_a_torchscript_archive_are_read(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2), torch.nn.Linear(4, 2)).half()
    torch.jit.script(module).save(tmp_path / "net.pt")

    assert_same(read_tensors(tmp_path / "net.pt"), {k: v.detach() for k, v in module.state_dict().items()})


def test_state_of_an_optimiser_beside_the_tensors_does_no_harm(tmp_path: Path) -> None:
    content = {
        "epoch": 3,
        "state_dict": {"weight": torch.ones(2, 3), "bias": torch.ones(2)},
        "optimizer": {
            "state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.ones(2, 3)}},
            "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999), "params": [0, 1], "foreach": None}],
        },
        "lr_scheduler": {"factor": 0.1, "best": float("inf"), "mode": "min"},
    }

    found = read_tensors(save(tmp_path / "net.pth.tar", content))

    assert set(found) == {"weight", "bias"}
    assert read_checkpoint(tmp_path / "net.pth.tar")["optimizer"]["param_groups"][0]["lr"] == 1e-3


def test_callbacks_that_a_trainer_left_need_not_exist_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "pytorch_lightning.callbacks.model_checkpoint"
    module: Any = types.ModuleType(name)
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": name})
    with monkeypatch.context() as patch:
        for known in ("pytorch_lightning", "pytorch_lightning.callbacks"):
            patch.setitem(sys.modules, known, types.ModuleType(known))
        patch.setitem(sys.modules, name, module)
        save(tmp_path / "v2-1.ckpt", {"callbacks": {module.ModelCheckpoint: {"best": 1}}, "state_dict": STATE})

    assert_same(read_tensors(tmp_path / "v2-1.ckpt"))


def test_the_last_of_several_layouts_counts_and_only_the_outer_one_is_taken_apart() -> None:
    assert unwrap_state({"network": {"a": 1}, "state_dict": {"b": 2}}) == {"b": 2}
    assert unwrap_state({"model": {"width": 3}, "network": {"a": 1}}) == {"a": 1}
    assert unwrap_state({"model": {"width": 3}, "a": 1}) == {"model": {"width": 3}, "a": 1}
    assert unwrap_state({"state_dict": 5, "a": 1}) == {"state_dict": 5, "a": 1}


@pytest.mark.parametrize("is_legacy", [False, True])
def test_pickle_that_would_run_code_is_refused_and_nothing_ran(tmp_path: Path, is_legacy: bool) -> None:
    Wrecker.target = tmp_path / "ran"
    path = save(tmp_path / "net.pth", {"state_dict": STATE, "x": Wrecker()}, is_legacy=is_legacy)

    with pytest.raises(WeightsCorrupt, match=r"posix.*could run code.*safetensors"):
        read_tensors(path)

    assert not Wrecker.target.exists()


@pytest.mark.parametrize(
    "code",
    [
        b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.",
        b"\x80\x02c__builtin__\neval\nX\x01\x00\x00\x001\x85R.",
        b"\x80\x02c__builtin__\nbytearray\n\x8a\x05\x00\x00\x00\x00\x7f\x85R.",
        b"\x80\x02ctorch\nTensor\n\x8a\x05\x00\x00\x00\x00\x7f\x85R.",
        b"\x80\x02ctorch\nFloatTensor\n\x8a\x05\x00\x00\x00\x00\x7f\x85R.",
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.",
        b"\x80\x02(X\x04\x00\x00\x00trueiposix\nsystem\n.",
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00HeX\x86R.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aK\x01sb.",
        b"\x80\x02cargparse\nNamespace\nN}X\x08\x00\x00\x00__init__K\x01s\x86b.",
    ],
    ids=[
        "system",
        "eval",
        "bytearray",
        "tensor",
        "typed-tensor",
        "stack-global",
        "inst",
        "encode",
        "function",
        "class",
    ],
)
def test_names_beyond_those_of_tensors_are_refused(tmp_path: Path, code: bytes) -> None:
    path = repacked(save(tmp_path / "net.pth", STATE), data_pkl=code)

    with pytest.raises(WeightsCorrupt, match="is refused: it"):
        read_tensors(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04",
        b"PK\x05\x06" + bytes(18),
        pickle.dumps({"a": 1}),
        pickle.dumps({"a": 1}, protocol=2),
        b"\x93NUMPY\x01\x00",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 50) + b"{",
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.",
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}q\x00.\x80\x02}.",
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.pth").write_bytes(content)

    with pytest.raises(WeightsCorrupt, match=r"net\.pth"):
        read_tensors(tmp_path / "net.pth")


def test_tar_of_the_oldest_torch_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "net.pth.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"), io.BytesIO())

    with pytest.raises(WeightsCorrupt, match="neither safetensors"):
        read_tensors(tmp_path / "net.pth.tar")


def test_file_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"net\.pth"):
        read_tensors(tmp_path / "net.pth")


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_file_cut_anywhere_is_told(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "net"
    state = {key: tensor for key, tensor in STATE.items() if tensor.numel()}
    if kind == "safetensors":
        save_file(state, path)
    else:
        save(path, state, is_legacy=kind == "legacy")
    whole = path.read_bytes()

    for length in [*range(0, len(whole) - 1, max(1, len(whole) // 97)), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsCorrupt):
            read_tensors(path)


def test_the_prefix_of_data_parallel_training_is_dropped(tmp_path: Path) -> None:
    assert_same(read_tensors(save(tmp_path / "net.pth", {f"module.{key}": tensor for key, tensor in STATE.items()})))


@pytest.mark.parametrize("content", [torch.ones(3), [torch.ones(3)], {1: torch.ones(3)}, {}, {"state_dict": {"a": 5}}])
def test_content_without_tensors_by_name_is_told(tmp_path: Path, content: Any) -> None:
    with pytest.raises(WeightsCorrupt, match="holds"):
        read_tensors(save(tmp_path / "net.pth", content))


def test_packed_entries_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "net.pth", STATE)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)

    with pytest.raises(WeightsCorrupt, match="packed"):
        read_tensors(path)


def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "net.pth", STATE)
    repacked(path, DATA_PKL=b"another")

    with pytest.raises(WeightsCorrupt, match="name of their own"):
        read_tensors(path)


def _tensor_pickle(numel: int, size: int, stride: int) -> bytes:
    """`{"a": tensor}` over storage 0, as torch writes it."""
    return (
        b"\x80\x02}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage"
        b"\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + _long(numel) + b"tQ" + _long(0) + _long(size) + b"\x85"
        + _long(stride) + b"\x85\x89ccollections\nOrderedDict\n)RtRs."
    )  # fmt: skip


def _long(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


@pytest.mark.parametrize(
    ("numel", "size", "stride"),
    [(24, 2**40, 0), (24, 2**40, 1), (24, 24, -1), (24, -5, 1), (-24, 24, 1)],
)
def test_claims_beyond_the_file_are_refused(tmp_path: Path, numel: int, size: int, stride: int) -> None:
    good = repacked(save(tmp_path / "net.pth", {"a": torch.ones(24)}), data_pkl=_tensor_pickle(24, 24, 1))
    assert torch.equal(read_tensors(good)["a"], torch.ones(24))

    with pytest.raises(WeightsCorrupt):
        read_tensors(repacked(good, data_pkl=_tensor_pickle(numel, size, stride)))


@pytest.mark.parametrize(("size", "stride"), [(2**33, 0), (2**33, 1), (2**45, 1)])
def test_claims_of_the_older_form_are_refused(tmp_path: Path, size: int, stride: int) -> None:
    whole = save(tmp_path / "net.pth", {"a": torch.ones(24)}, is_legacy=True).read_bytes()
    at = whole.index(b"K\x18\x85q")
    claimed = whole[:at] + _long(size) + whole[at + 2 :]
    (tmp_path / "net.pth").write_bytes(claimed.replace(b"K\x01\x85q", _long(stride) + b"\x85q"))

    with pytest.raises(WeightsCorrupt, match="claims"):
        read_tensors(tmp_path / "net.pth")


def test_safetensors_that_claim_more_than_they_have_are_refused(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    (tmp_path / "net").write_bytes(struct.pack("<Q", len(header)) + header + bytes(64))

    with pytest.raises(WeightsCorrupt, match="cannot be read"):
        read_tensors(tmp_path / "net")


def test_many_threads_may_load_at_once(tmp_path: Path) -> None:
    path = save(tmp_path / "net.pth", {"state_dict": STATE, "loss": np.float64(1), "args": Namespace(a=1)})

    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: read_tensors(path), range(40)):
            assert_same(found)

    left = {name for entry in torch.serialization.get_safe_globals() if isinstance(entry, tuple) for name in entry[1:]}
    assert "argparse.Namespace" not in left


@pytest.mark.parametrize("layout", ["model", "net", "net_state_dict", "params", "params_ema", "ema", "ema_state_dict"])
def test_every_key_that_trainers_use_is_taken_apart(tmp_path: Path, layout: str) -> None:
    content = {"epoch": 3, "params": {"lr": 0.1}, layout: STATE}
    assert_same(read_tensors(save(tmp_path / "net.pth", content)))


@pytest.mark.parametrize(
    "before",
    [
        "_orig_mod.",
        "model.",
        "net.",
        "module._orig_mod.",
        "model._orig_mod.",
        "model.module.",
        "net.model.",
        "netG.module.",
        "_fsdp_wrapped_module.model.",
        "generator.",
    ],
)
def test_names_as_trainers_write_them_are_made_plain(tmp_path: Path, before: str) -> None:
    assert_same(read_tensors(save(tmp_path / "net.pth", {before + key: tensor for key, tensor in STATE.items()})))


def test_average_of_models_is_taken_without_its_count() -> None:
    assert plain_names({"n_averaged": 7, "module.a.weight": 1}) == {"a.weight": 1}


def test_parts_that_were_trained_in_parallel_alone_are_made_plain() -> None:
    assert plain_names({"g_a.module.0.weight": 1, "g_s.module.0.weight": 2, "h_a.0.bias": 3}) == {
        "g_a.0.weight": 1,
        "g_s.0.weight": 2,
        "h_a.0.bias": 3,
    }
    assert plain_names({"a.module.b": 1, "a.b": 2}) == {"a.module.b": 1, "a.b": 2}, "both names are meant"


def test_denoiser_of_a_text_to_image_model_keeps_its_name() -> None:
    names = {"model.diffusion_model.out.0.weight": 1, "model.diffusion_model.out.0.bias": 2}
    assert plain_names(names) == names
