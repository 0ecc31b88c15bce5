"""The local folder: where files lie, and what disks do to it."""

import errno
import hashlib
import os
import threading
from pathlib import Path

import pytest

from codec.media import MISC
from core.errors import ObjectCorrupt, ObjectNotFound, StorageDenied, StorageUnavailable
from core.settings import StorageSettings
from core.storage import open_storage
from core.storage.keys import bitstream_key
from core.storage.local import LocalStorage

DATA = b"stream" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()
KEY = bitstream_key(SHA256)


@pytest.fixture
def local(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "objects")


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def refusing(monkeypatch: pytest.MonkeyPatch, name: str, code: int) -> None:
    """Make a system call fail as a real disk would."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, name, fail)


def test_objects_lie_in_folders_by_the_first_two_digits(local: LocalStorage, tmp_path: Path) -> None:
    local.put(KEY, DATA, content_type=MISC, sha256=SHA256)
    assert files_in(tmp_path / "objects") == [f"bitstreams/{SHA256[:2]}/{SHA256}.misc"]


def test_there_are_no_addresses_for_a_folder(local: LocalStorage) -> None:
    assert local.presigned_url(KEY) is None


def test_full_disk_is_transient_and_leaves_nothing(
    local: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(monkeypatch, "fsync", errno.ENOSPC)
    with pytest.raises(StorageUnavailable, match="full; make room") as caught:
        local.put(KEY, DATA, content_type=MISC, sha256=SHA256)
    assert caught.value.transient
    with pytest.raises(StorageUnavailable):
        local.check()
    assert files_in(tmp_path / "objects") == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
def test_write_to_a_device_that_is_full_is_told_as_such(
    local: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, mode="r": real(Path("/dev/full") if "x" in mode else path, mode.replace("x", "w"))
    )
    with pytest.raises(StorageUnavailable, match="full"):
        local.put(KEY, DATA, content_type=MISC, sha256=SHA256)
    assert files_in(tmp_path / "objects") == []


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_missing_right_to_write_is_no_matter_of_time(
    local: LocalStorage, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    refusing(monkeypatch, "fsync", code)
    with pytest.raises(StorageDenied, match="owner and mode") as caught:
        local.check()
    assert not caught.value.transient


def test_other_trouble_of_the_disk_is_transient(local: LocalStorage, tmp_path: Path) -> None:
    (tmp_path / "objects" / "bitstreams" / SHA256[:2] / f"{SHA256}.misc").mkdir(parents=True)
    with pytest.raises(StorageUnavailable, match="directory") as caught:
        local.get(KEY, max_bytes=10**6)
    assert caught.value.transient


def test_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "objects").write_text("not a folder")
    with pytest.raises(StorageUnavailable, match=r"objects"):
        open_storage(StorageSettings(path=tmp_path / "objects"))


def test_object_cut_short_behind_our_back_is_found_when_read_and_when_stored_again(
    local: LocalStorage, tmp_path: Path
) -> None:
    local.put(KEY, DATA, content_type=MISC, sha256=SHA256)
    (tmp_path / "objects" / "bitstreams" / SHA256[:2] / f"{SHA256}.misc").write_bytes(DATA[:-1])
    with pytest.raises(ObjectCorrupt):
        local.get(KEY, max_bytes=10**6, sha256=SHA256)
    with pytest.raises(ObjectCorrupt, match="delete it"):
        local.put(KEY, DATA, content_type=MISC, sha256=SHA256)
    local.delete(KEY)
    local.put(KEY, DATA, content_type=MISC, sha256=SHA256)
    assert local.get(KEY, max_bytes=10**6, sha256=SHA256) == DATA


def test_reader_goes_on_with_an_object_that_is_deleted_meanwhile(local: LocalStorage) -> None:
    local.put(KEY, DATA, content_type=MISC, sha256=SHA256)
    with local.open(KEY) as reader:
        local.delete(KEY)
        assert b"".join(reader) == DATA
    with pytest.raises(ObjectNotFound):
        local.open(KEY)


def test_many_writers_of_one_object_leave_it_whole(local: LocalStorage, tmp_path: Path) -> None:
    data = bytes(2_000_000)
    sha256 = hashlib.sha256(data).hexdigest()
    key = bitstream_key(sha256)
    seen: list[bytes | BaseException] = []

    def write() -> None:
        try:
            local.put(key, data, content_type=MISC, sha256=sha256)
            seen.append(local.get(key, max_bytes=len(data), sha256=sha256))
        except BaseException as error:  # noqa: BLE001 - a thread's error has to reach the assertion below
            seen.append(error)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [data] * 8
    assert files_in(tmp_path / "objects") == [f"bitstreams/{sha256[:2]}/{sha256}.misc"]


def test_list_passes_over_what_is_none_of_ours(local: LocalStorage, tmp_path: Path) -> None:
    local.put(KEY, DATA, content_type=MISC, sha256=SHA256)
    folder = tmp_path / "objects" / "bitstreams"
    (folder / "README").write_text("notes")
    (folder / SHA256[:2] / ".DS_Store").write_text("")
    (folder / "zz").mkdir()
    (folder / "zz" / f"{SHA256}.misc").write_bytes(DATA)
    assert [info.key for info in local.list("bitstreams/")] == [KEY]
