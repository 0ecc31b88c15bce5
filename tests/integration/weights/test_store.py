"""What the store keeps and finds, and what it says when it has nothing."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from file_server import CONTENT, DIGEST, published

from codec.errors import WeightsCorrupt, WeightsError, WeightsMissing
from codec.options import Profile
from codec.weights import digest as digests
from codec.weights.digest import digest_of
from codec.weights.index import Record, read_index
from codec.weights.manifest import Licence, Part
from codec.weights.released import RELEASED
from codec.weights.store import State, WeightsStore, default_folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "mine.pth.tar"
    path.write_bytes(CONTENT)
    return path


def add(store: WeightsStore, file: Path, name: str = "mine", **fields: object) -> Record:
    return store.add(file, name=name, part=Part.COARSE, architecture="mbt2018-mean", **fields)  # type: ignore[arg-type]


def made(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_added_file_is_found_by_name_digest_and_part(store: WeightsStore, checkpoint: Path) -> None:
    licence = Licence("MIT", "https://example.org")
    record = add(store, checkpoint, profiles=(Profile.SD21,), rate=2, licence=licence)
    checkpoint.unlink()

    again = WeightsStore(store.path, released=(), shipped=None)

    assert again.find(name="mine") == record
    assert again.find(prefix=bytes.fromhex(DIGEST[:8])) == record
    assert again.find(part=Part.COARSE, profile=Profile.SD21, rate=2) == record
    assert (record.sha256, record.bytes, record.licence) == (DIGEST, len(CONTENT), licence)
    assert again.file_of(record).read_bytes() == CONTENT


def test_linked_file_stays_where_it_is(store: WeightsStore, checkpoint: Path) -> None:
    record = add(store, checkpoint, is_linked=True)

    assert store.file_of(record).resolve() == checkpoint.resolve()
    assert store.listing()[0].state is State.PRESENT
    checkpoint.unlink()
    assert store.listing()[0].state is State.MISSING
    with pytest.raises(WeightsMissing, match=r"misc weights add FILE --name mine"):
        store.find(name="mine")


def test_missing_network_of_a_stream_is_named_with_the_command_that_fetches_it(tmp_path: Path) -> None:
    store = WeightsStore(tmp_path)

    with pytest.raises(WeightsMissing, match=r"465f2b64.*misc weights pull cheng2020-attn-mse-1`"):
        store.find(prefix=bytes.fromhex("465f2b64"))
    with pytest.raises(WeightsMissing, match=r"0badcafe.*misc weights add FILE"):
        store.find(part=Part.COARSE, prefix=bytes.fromhex("0badcafe"))
    with pytest.raises(WeightsMissing, match=r"profile sd21.*misc weights pull cheng2020-tuned --trust"):
        store.find(part=Part.COARSE, profile=Profile.SD21, rate=3)
    with pytest.raises(WeightsMissing, match=r"pull clip-vit-b16`"):
        store.find(name="clip-vit-b16")
    with pytest.raises(WeightsMissing, match="no weights 'nonsense'"):
        store.find(name="nonsense")


def test_rate_of_its_own_is_preferred_to_one_for_all(store: WeightsStore, tmp_path: Path) -> None:
    for name, rate in (("all", None), ("small", 1)):
        add(store, made(tmp_path, name, name.encode()), name, profiles=(Profile.LITE,), rate=rate)

    assert store.find(part=Part.COARSE, profile=Profile.LITE, rate=1).name == "small"
    assert store.find(part=Part.COARSE, profile=Profile.LITE, rate=3).name == "all"


def test_two_that_fit_are_named(store: WeightsStore, tmp_path: Path) -> None:
    for name in ("one", "two"):
        add(store, made(tmp_path, name, name.encode()), name, profiles=(Profile.LITE,))

    with pytest.raises(WeightsMissing, match="can mean one, two"):
        store.find(part=Part.COARSE, profile=Profile.LITE)


def test_same_file_under_two_names_is_kept_once_and_means_one(store: WeightsStore, checkpoint: Path) -> None:
    first = add(store, checkpoint, "one")
    second = add(store, checkpoint, "two")

    assert first.file == second.file
    assert store.find(prefix=bytes.fromhex(DIGEST[:8])).sha256 == DIGEST


def test_name_keeps_the_file_it_has(store: WeightsStore, checkpoint: Path, tmp_path: Path) -> None:
    add(store, checkpoint)

    with pytest.raises(WeightsError, match="Use another name"):
        add(store, made(tmp_path, "other", b"other"))

    assert store.find(name="mine").sha256 == DIGEST
    assert [path.name for path in (store.path / "incoming").iterdir()] == []


def test_published_name_brings_all_that_is_published(tmp_path: Path, checkpoint: Path) -> None:
    store = WeightsStore(tmp_path / "weights", [published(profiles=(Profile.SD21,))])

    record = store.add(checkpoint, name="some-net")

    assert (record.architecture, record.profiles, record.is_trusted) == ("cheng2020-attn", (Profile.SD21,), False)


@pytest.mark.parametrize("name", ["", "Mine", "../mine", "a/b", "-x", "x" * 101])
def test_names_that_are_no_file_names_are_refused(store: WeightsStore, checkpoint: Path, name: str) -> None:
    with pytest.raises(WeightsError):
        add(store, checkpoint, name)


def test_unpublished_name_needs_part_and_architecture(store: WeightsStore, checkpoint: Path) -> None:
    with pytest.raises(WeightsError, match="part and architecture"):
        store.add(checkpoint, name="mine")


def test_verify_hashes_anew_what_a_kept_date_would_hide(store: WeightsStore, checkpoint: Path) -> None:
    record = add(store, checkpoint)
    file = store.file_of(record)
    before = file.stat()
    file.write_bytes(b"?" + CONTENT[1:])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert store.listing()[0].state is State.PRESENT
    assert store.verify("mine").state is State.CORRUPT
    assert store.listing()[0].state is State.CORRUPT


def test_listing_tells_touched_and_cut_files(store: WeightsStore, checkpoint: Path) -> None:
    file = store.file_of(add(store, checkpoint))

    os.utime(file, (1, 1))
    assert store.listing()[0].state is State.UNCHECKED
    assert store.verify("mine").state is State.PRESENT
    assert store.listing()[0].state is State.PRESENT
    file.write_bytes(CONTENT[:-1])
    assert store.listing()[0].state is State.CORRUPT


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"version": 2, "weights": {}}', '{"version": 1, "weights": {"a": {"part": "coarse"}}}', "\x00"],
)
def test_broken_index_is_told_and_not_overwritten(store: WeightsStore, checkpoint: Path, text: str) -> None:
    store.path.mkdir()
    (store.path / "index.json").write_text(text)

    with pytest.raises(WeightsCorrupt, match=r"index\.json"):
        store.records()
    with pytest.raises(WeightsCorrupt):
        add(store, checkpoint)

    assert (store.path / "index.json").read_text() == text


@pytest.mark.parametrize("file", ["/etc/passwd", "../../etc/passwd"])
def test_index_cannot_lead_out_of_the_folder(store: WeightsStore, checkpoint: Path, file: str) -> None:
    add(store, checkpoint)
    index = store.path / "index.json"
    document = json.loads(index.read_text())
    document["weights"]["mine"]["file"] = file
    index.write_text(json.dumps(document))

    with pytest.raises(WeightsCorrupt, match="outside"):
        store.find(name="mine")


def test_reading_needs_no_right_to_write(tmp_path: Path) -> None:
    assert WeightsStore(tmp_path / "none", shipped=None).records() == {}
    assert len(WeightsStore(tmp_path / "none", shipped=None).listing()) == len(RELEASED)
    assert list(tmp_path.iterdir()) == []


def test_digest_is_computed_once_while_the_file_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = made(tmp_path, "net", CONTENT)
    read: list[int] = []

    assert digest_of(file, progress=read.append) == DIGEST
    assert digest_of(file, progress=read.append) == DIGEST
    monkeypatch.setattr(digests, "_known", {})
    assert digest_of(file, progress=read.append) == DIGEST
    assert sum(read) == len(CONTENT)

    file.write_bytes(CONTENT[::-1])
    assert digest_of(file) == hashlib.sha256(CONTENT[::-1]).hexdigest()


def test_file_is_handed_out_only_while_its_digest_holds(store: WeightsStore, checkpoint: Path) -> None:
    record = add(store, checkpoint)
    assert store.checked(record).read_bytes() == CONTENT

    store.file_of(record).write_bytes(CONTENT[::-1])
    with pytest.raises(WeightsCorrupt, match=rf"mine .*not {DIGEST[:16]}.*damaged or another file.*misc weights add"):
        store.checked(record)

    store.file_of(record).unlink()
    with pytest.raises(WeightsMissing, match=rf"mine .*SHA-256 {DIGEST[:16]}.*gone.*misc weights add"):
        store.checked(record)


def test_what_is_missing_is_told_by_file_digest_and_command(store: WeightsStore) -> None:
    with pytest.raises(WeightsMissing) as caught:
        WeightsStore(store.path).find(part=Part.RESTORER, profile=Profile.SD21)

    assert str(caught.value) == (
        "The network restorer of the profile sd21 is not on this machine: it is general_full_v1.ckpt "
        "(6,895 MB, SHA-256 b511f6be75f60efc...). Fetch it with `misc weights pull diffbir-v1-general-full`."
    )


def test_note_beside_a_file_that_is_nonsense_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = made(tmp_path, "net", CONTENT)
    monkeypatch.setattr(digests, "_known", {})
    for text in ("", "[1]", '{"sha256": 5}', "{"):
        (tmp_path / ".net.digest").write_text(text)
        assert digest_of(file) == DIGEST
        digests._known.clear()


def test_default_folder_is_that_of_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")

    assert default_folder() == Path("/data/misc-archive/weights")


def test_folder_of_earlier_versions_is_used_while_it_is_the_only_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    (tmp_path / "misc" / "weights").mkdir(parents=True)
    assert default_folder() == tmp_path / "misc" / "weights"
    (tmp_path / "misc-archive" / "weights").mkdir(parents=True)
    assert default_folder() == tmp_path / "misc-archive" / "weights"


def test_index_is_read_by_others_while_it_changes(store: WeightsStore, tmp_path: Path) -> None:
    from threading import Thread

    def _add(number: int) -> None:
        add(store, made(tmp_path, f"file{number}", bytes([number])), f"net{number}")

    threads = [Thread(target=_add, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        read_index(store.path)
    for thread in threads:
        thread.join()

    assert len(read_index(store.path)) == 12


def test_looking_for_weights_needs_neither_networks_nor_a_network() -> None:
    modules = "codec.weights.store, codec.weights.pull, codec.nets.compression.load, codec.encode.locate.load"
    heavy = "{'torch', 'transformers', 'compressai', 'httpx', 'safetensors'}"
    program = f"import sys, {modules}; sys.exit(sorted({heavy} & set(sys.modules)) or 0)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
