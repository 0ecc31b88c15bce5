"""What every backend promises, on the local folder and on a simulated S3 store."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from codec.media import MISC
from core.errors import ObjectCorrupt, ObjectNotFound
from core.storage import CHUNK_BYTES, Storage
from core.storage.keys import bitstream_key, original_key, reconstruction_key


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put(storage: Storage, data: bytes) -> str:
    key = bitstream_key(digest(data))
    storage.put(key, data, content_type=MISC, sha256=digest(data))
    return key


@pytest.mark.parametrize("size_bytes", [0, 1, 3000, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 17])
def test_object_comes_back_as_it_went_in(storage: Storage, size_bytes: int) -> None:
    data = bytes(n * 7 % 251 for n in range(size_bytes))
    key = put(storage, data)
    info = storage.head(key)
    assert (info.key, info.size_bytes, info.content_type, info.sha256) == (key, size_bytes, MISC, digest(data))
    assert abs(datetime.now(UTC) - info.modified_at) < timedelta(minutes=1)
    assert storage.get(key, max_bytes=size_bytes, sha256=digest(data)) == data
    with storage.open(key) as reader:
        chunks = list(reader)
    assert b"".join(chunks) == data
    assert all(0 < len(chunk) <= CHUNK_BYTES for chunk in chunks)


def test_file_is_taken_like_bytes(storage: Storage, tmp_path: Path) -> None:
    data = b"picture" * 100_000
    source = tmp_path / "upload"
    source.write_bytes(data)
    key = original_key("img_01jd", "jpg")
    storage.put(key, source, content_type="image/jpeg", sha256=digest(data))
    assert storage.get(key, max_bytes=10**6) == data
    assert storage.head(key).content_type == "image/jpeg"
    assert source.exists()


def test_source_that_is_no_file_is_the_callers_error(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        storage.put(original_key("img_1"), tmp_path / "nowhere", content_type="image/jpeg", sha256=digest(b""))


@pytest.mark.parametrize(
    ("start", "end"),
    [(0, 10), (3, 7), (7, None), (None, 4), (9, 10), (5, 5), (6, 2), (8, 99), (10, None), (50, 60), (0, 0)],
)
def test_range_is_cut_like_a_slice_and_tells_the_whole_size(
    storage: Storage, start: int | None, end: int | None
) -> None:
    data = b"0123456789"
    key = put(storage, data)
    with storage.open(key, start=start, end=end) as reader:
        assert b"".join(reader) == data[start:end]
        assert reader.info.size_bytes == 10


def test_range_over_several_chunks(storage: Storage) -> None:
    data = bytes(n % 253 for n in range(3 * CHUNK_BYTES))
    key = put(storage, data)
    with storage.open(key, start=CHUNK_BYTES - 5, end=2 * CHUNK_BYTES + 5) as reader:
        assert b"".join(reader) == data[CHUNK_BYTES - 5 : 2 * CHUNK_BYTES + 5]


def test_reader_may_be_closed_before_its_end_and_twice(storage: Storage) -> None:
    reader = storage.open(put(storage, bytes(2 * CHUNK_BYTES)))
    assert len(next(iter(reader))) == CHUNK_BYTES
    reader.close()
    reader.close()


def test_missing_object_is_told_at_once(storage: Storage) -> None:
    key = bitstream_key(digest(b"never stored"))
    for call in (
        lambda: storage.head(key),
        lambda: storage.get(key, max_bytes=100),
        lambda: storage.open(key),
        lambda: storage.open(key, start=4, end=8),
        lambda: storage.open(key, start=4, end=4),
    ):
        with pytest.raises(ObjectNotFound) as caught:
            call()
        assert key in str(caught.value)
        assert not caught.value.transient


def test_data_with_another_digest_is_refused_and_leaves_nothing(storage: Storage) -> None:
    promised = digest(b"promised")
    with pytest.raises(ObjectCorrupt, match=promised):
        storage.put(bitstream_key(promised), b"other", content_type=MISC, sha256=promised)
    with pytest.raises(ObjectNotFound):
        storage.head(bitstream_key(promised))
    assert list(storage.list("bitstreams/")) == []


def test_key_and_digest_that_disagree_are_refused(storage: Storage) -> None:
    with pytest.raises(ValueError, match="another digest"):
        storage.put(bitstream_key(digest(b"a")), b"b", content_type=MISC, sha256=digest(b"b"))


def test_storing_twice_keeps_the_first(storage: Storage) -> None:
    key = put(storage, b"stream")
    first = storage.head(key)
    assert put(storage, b"stream") == key
    assert storage.head(key).modified_at == first.modified_at


def test_stored_object_of_another_size_is_kept_and_told(storage: Storage) -> None:
    key = original_key("img_01jd")
    storage.put(key, b"first", content_type="image/png", sha256=digest(b"first"))
    with pytest.raises(ObjectCorrupt, match="5 bytes, not 6"):
        storage.put(key, b"second", content_type="image/png", sha256=digest(b"second"))
    assert storage.get(key, max_bytes=100) == b"first"


def test_object_larger_than_expected_is_not_read(storage: Storage) -> None:
    key = put(storage, bytes(1001))
    with pytest.raises(ObjectCorrupt, match="1001 bytes; at most 1000"):
        storage.get(key, max_bytes=1000)
    assert len(storage.get(key, max_bytes=1001)) == 1001


def test_digest_asked_for_at_reading_is_held(storage: Storage) -> None:
    key = original_key("img_01jd")
    storage.put(key, b"data", content_type="image/png", sha256=digest(b"data"))
    assert storage.get(key, max_bytes=10, sha256=digest(b"data")) == b"data"
    with pytest.raises(ObjectCorrupt, match="digest"):
        storage.get(key, max_bytes=10, sha256=digest(b"other"))


def test_deleted_object_is_gone_and_may_be_deleted_again(storage: Storage) -> None:
    key = put(storage, b"stream")
    storage.delete(key)
    storage.delete(key)
    with pytest.raises(ObjectNotFound):
        storage.head(key)
    put(storage, b"stream")
    assert storage.get(key, max_bytes=10) == b"stream"


def test_list_tells_every_object_of_its_folder_once(storage: Storage) -> None:
    stored = {put(storage, bytes([n])): 1 for n in range(10)}
    picture = reconstruction_key(digest(b"picture"), "png")
    storage.put(picture, b"picture", content_type="image/png", sha256=digest(b"picture"))
    listed = list(storage.list("bitstreams/"))
    assert {info.key: info.size_bytes for info in listed} == stored
    assert len(listed) == 10
    assert all(info.sha256 == info.key[11:75] and info.modified_at.tzinfo is not None for info in listed)
    assert [info.key for info in storage.list("reconstructions/")] == [picture]
    assert list(storage.list("originals/")) == []
    assert [info.key for info in storage.list(picture[:40])] == [picture]


@pytest.mark.parametrize("key", ["../outside", "bitstreams/../../etc/passwd", "originals/a/b", "/etc/passwd", ""])
def test_no_method_takes_a_key_that_is_none(storage: Storage, key: str) -> None:
    for call in (
        lambda: storage.put(key, b"", content_type=MISC, sha256=digest(b"")),
        lambda: storage.open(key),
        lambda: storage.get(key, max_bytes=1),
        lambda: storage.head(key),
        lambda: storage.delete(key),
        lambda: list(storage.list(key)),
        lambda: storage.presigned_url(key),
    ):
        with pytest.raises(ValueError, match="is no "):
            call()


def test_check_passes_and_leaves_nothing_listed(storage: Storage) -> None:
    storage.check()
    storage.check()
    for folder in ("bitstreams/", "originals/", "reconstructions/", "references/"):
        assert list(storage.list(folder)) == []
