"""What can be weights and what cannot, and what a store does about it."""

import io
import json
import zipfile
from pathlib import Path

import pytest

from codec.errors import WeightsCorrupt, WeightsError, WeightsMissing
from codec.weights.content import check_content, is_readable
from codec.weights.manifest import Part
from codec.weights.store import WeightsStore


def tensors(count: int = 16) -> bytes:
    header = json.dumps({"w": {"dtype": "U8", "shape": [count], "data_offsets": [0, count]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(count)


def archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("archive/data.pkl", b"pickle")
        file.writestr("archive/data/0", bytes(1000))
    return out.getvalue()


@pytest.mark.parametrize("content", [tensors(), archive(), b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + bytes(80)])
def test_whole_files_of_weights_are_taken(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(content)
    check_content(tmp_path / "w")
    assert is_readable(tmp_path / "w")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "Git LFS"),
        (b"<!DOCTYPE html><html>Sign in</html>", "web page"),
        (b"\n <html>Sign in</html>", "web page"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "a picture"),
        (tensors()[:-1], "cut off"),
        (tensors()[:20], "cut off"),
        (archive()[:-40], "cut off"),
        (b"anything else that is long enough", "no file of weights"),
        (b"", "no file of weights"),
    ],
)
def test_what_is_no_weights_is_refused_by_name_and_leaves_nothing(content: bytes, what: str, tmp_path: Path) -> None:
    file, store = tmp_path / "mine.ckpt", WeightsStore(tmp_path / "weights", released=(), shipped=None)
    file.write_bytes(content)
    with pytest.raises(WeightsCorrupt, match=what):
        store.add(file, name="mine", part=Part.CONTROL, architecture="diffbir-v2", check=check_content)
    assert not is_readable(file) and store.records() == {}
    assert [path for path in store.path.rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def test_a_refused_file_leaves_no_copy(tmp_path: Path) -> None:
    store = WeightsStore(tmp_path / "weights", released=(), shipped=None)
    for number, content in enumerate((tensors(16), tensors(17))):
        (tmp_path / str(number)).write_bytes(content)
    store.add(tmp_path / "0", name="mine", part=Part.CONTROL, architecture="a")
    with pytest.raises(WeightsError, match="another file"):
        store.add(tmp_path / "1", name="mine", part=Part.CONTROL, architecture="a")
    assert list((store.path / "incoming").iterdir()) == []


def test_removed_weights_are_gone_with_their_file_unless_another_name_has_it(tmp_path: Path) -> None:
    store = WeightsStore(tmp_path / "weights", released=(), shipped=None)
    (tmp_path / "w").write_bytes(tensors())
    first = store.add(tmp_path / "w", name="one", part=Part.CONTROL, architecture="a")
    store.add(tmp_path / "w", name="two", part=Part.CONTROL, architecture="a")
    store.remove("one")
    assert store.file_of(first).is_file() and list(store.records()) == ["two"]
    store.remove("two")
    assert not store.file_of(first).exists() and store.records() == {}
    with pytest.raises(WeightsMissing):
        store.remove("two")


def test_a_coarse_network_is_removed_by_force_only(tmp_path: Path) -> None:
    store = WeightsStore(tmp_path / "weights", released=(), shipped=None)
    (tmp_path / "w").write_bytes(tensors())
    store.add(tmp_path / "w", name="net", part=Part.COARSE, architecture="a")
    with pytest.raises(WeightsError, match="--force"):
        store.remove("net")
    assert store.remove("net", is_forced=True).name == "net"
