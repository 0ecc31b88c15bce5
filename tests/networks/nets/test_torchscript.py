"""TorchScript archives give their tensors, and nothing in them is run."""

import pickle
import struct
import warnings
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import pytest
import torch

from codec.errors import WeightsCorrupt
from codec.nets.clip.weights import clip_from_tensors, load_clip
from codec.nets.loading.checkpoint import read_tensors
from tests.networks.nets.tiny_clip import openai_tensors


class Node(torch.nn.Module):
    """One component of a dotted name."""

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        return value


def as_archive(tensors: dict[str, torch.Tensor], path: Path, attributes: tuple[str, ...] = ()) -> None:
    """Save tensors by dotted name as TorchScript does; those named in `attributes` are neither parameter nor buffer."""
    root = Node()
    for key, tensor in tensors.items():
        *parents, name = key.split(".")
        node = root
        for parent in parents:
            if parent not in dict(node.named_children()):
                node.add_module(parent, Node())
            node = node.get_submodule(parent)
        if key in attributes:
            setattr(node, name, tensor)
        elif tensor.is_floating_point():
            node.register_parameter(name, torch.nn.Parameter(tensor))
        else:
            node.register_buffer(name, tensor)
    with warnings.catch_warnings():
        # TorchScript is deprecated; the published checkpoints will not change for that.
        warnings.simplefilter("ignore")
        torch.jit.script(root).save(str(path))


def forged(path: Path, pickled: bytes, storages: dict[str, bytes] | None = None, compression: int = ZIP_STORED) -> Path:
    with ZipFile(path, "w", compression) as archive:
        archive.writestr("m/data.pkl", pickled)
        archive.writestr("m/code/__torch__.py", "")
        for name, data in (storages or {}).items():
            archive.writestr(f"m/data/{name}", data)
    return path


def module(attributes: bytes) -> bytes:
    """A pickled object of class __torch__.M with one attribute "t", `attributes` being the opcodes of its value."""
    return b"\x80\x02c__torch__\nM\n)\x81}X\x01\x00\x00\x00t" + attributes + b"sb."


def tensor(count: int, offset: int, size: int, stride: int, kind: bytes = b"FloatStorage") -> bytes:
    """The opcodes of a one-dimensional tensor over storage "0"."""
    number = [b"J" + struct.pack("<i", value) for value in (count, offset, size, stride)]
    storage = (
        b"(X\x07\x00\x00\x00storagectorch\n" + kind + b"\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + number[0] + b"tQ"
    )
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + storage
        + number[1]
        + number[2]
        + b"\x85"
        + number[3]
        + b"\x85\x89ccollections\nOrderedDict\n)RtR"
    )


def test_openai_archive_gives_the_network(tmp_path: Path) -> None:
    tensors = openai_tensors()
    beside = {"input_resolution": torch.tensor(224), "transformer.resblocks.0.attn_mask": torch.zeros(77, 77)}
    halves = {key: value.half() if value.ndim > 1 else value for key, value in tensors.items()}
    as_archive(halves | beside, tmp_path / "ViT-B-16.pt", attributes=("transformer.resblocks.0.attn_mask",))
    loaded, expected = load_clip(tmp_path / "ViT-B-16.pt"), clip_from_tensors(halves, "tiny")
    for name, parameter in expected.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], parameter), name


def test_types_views_and_shared_storages_survive(tmp_path: Path) -> None:
    base = torch.arange(24.0)
    tensors = {
        "a.whole": base.reshape(4, 6),
        "a.turned": base.reshape(4, 6).T,
        "b.part": base[6:12],
        "b.halves": torch.ones(2, 3, dtype=torch.float16),
        "count": torch.tensor([7, 8]),
        "empty": torch.zeros(0, 3),
    }
    as_archive(tensors, tmp_path / "a.pt")
    read = read_tensors(tmp_path / "a.pt")
    assert read.keys() == tensors.keys()
    for name, value in tensors.items():
        assert read[name].dtype == value.dtype and torch.equal(read[name], value), name


def test_forged_archive_is_read_when_it_is_honest(tmp_path: Path) -> None:
    path = forged(tmp_path / "a.pt", module(tensor(4, 1, 3, 1)), {"0": struct.pack("<4f", 1, 2, 3, 4)})
    assert read_tensors(path)["t"].tolist() == [2, 3, 4]


def test_no_code_of_the_file_is_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return Path.write_text, (Path(tmp_path / "run"), "x")  # type: ignore[return-value]

    path = forged(tmp_path / "a.pt", pickle.dumps(Bomb(), protocol=2))
    with pytest.raises(WeightsCorrupt, match="could run code"):
        read_tensors(path)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("pickled", "data"),
    [
        (module(tensor(4, 0, 4, 1)), b"short"),
        (module(tensor(4, 0, 5, 1)), bytes(16)),
        (module(tensor(4, 3, 3, 1)), bytes(16)),
        (module(tensor(4, 0, 2**30, 0)), bytes(16)),
        (module(tensor(4, -1, 2, 1)), bytes(16)),
        (module(tensor(4, 0, -4, 1)), bytes(16)),
        (module(tensor(-4, 0, 0, 1)), bytes(16)),
        (module(tensor(2**31 - 1, 0, 1, 1)), bytes(16)),
        (module(tensor(4, 0, 4, 1, b"UntypedStorage")), bytes(16)),
        (module(b"N"), b""),
        (b"\x80\x02", b""),
        (b"", b""),
        (b"\x80\x02c__torch__\nM\n)\x81}(tb.", b""),
    ],
)
def test_archive_that_contradicts_itself_is_refused(tmp_path: Path, pickled: bytes, data: bytes) -> None:
    with pytest.raises(WeightsCorrupt):
        read_tensors(forged(tmp_path / "a.pt", pickled, {"0": data}))


def test_compressed_entry_is_refused_before_it_grows(tmp_path: Path) -> None:
    path = forged(tmp_path / "a.pt", module(tensor(4, 0, 4, 1)), {"0": bytes(10**7)}, ZIP_DEFLATED)
    with pytest.raises(WeightsCorrupt, match="packed"):
        read_tensors(path)


def test_modules_that_contain_themselves_are_refused(tmp_path: Path) -> None:
    path = forged(tmp_path / "a.pt", b"\x80\x02c__torch__\nM\n)\x81q\x00}X\x01\x00\x00\x00mh\x00sb.")
    with pytest.raises(WeightsCorrupt, match="without end"):
        read_tensors(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_truncated_archive_is_refused(tmp_path: Path, share: float) -> None:
    as_archive({"a.b": torch.ones(100)}, tmp_path / "a.pt")
    data = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "a.pt").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(WeightsCorrupt):
        read_tensors(tmp_path / "a.pt")
