"""The S3 backend against a real server: signatures, addresses, ranges, pages, and the ways a server fails."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from codec.media import MISC
from core.errors import ObjectCorrupt, ObjectNotFound, StorageDenied, StorageUnavailable
from core.settings import StorageSettings
from core.storage import CHUNK_BYTES, Storage, open_storage
from core.storage.keys import bitstream_key, original_key, reconstruction_key
from core.storage.s3 import S3Storage
from tests.s3_server.fixture import new_bucket, new_client, settings_for
from tests.s3_server.process import S3Server


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put(storage: Storage, data: bytes) -> str:
    key = bitstream_key(digest(data))
    storage.put(key, data, content_type=MISC, sha256=digest(data))
    return key


def fetch(url: str) -> tuple[int, bytes, dict[str, str]]:
    """What anybody gets at this address, without keys."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status, answer.read(), {k.lower(): v for k, v in answer.headers.items()}
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), {}


def seconds_of(call: Callable[[], object], expected: type[Exception]) -> float:
    """How long it takes to fail as expected."""
    began = time.monotonic()
    with pytest.raises(expected):
        call()
    return time.monotonic() - began


@pytest.fixture
def storage(s3_settings: StorageSettings) -> Storage:
    return open_storage(s3_settings)


@pytest.mark.parametrize("size_bytes", [0, 1, 3000, CHUNK_BYTES + 1, 7_000_000])
def test_object_comes_back_as_it_went_in(storage: Storage, size_bytes: int) -> None:
    data = os.urandom(size_bytes)
    key = put(storage, data)
    info = storage.head(key)
    assert (info.size_bytes, info.content_type, info.sha256) == (size_bytes, MISC, digest(data))
    assert storage.get(key, max_bytes=size_bytes, sha256=digest(data)) == data


def test_file_of_several_megabytes_with_metadata(storage: Storage, tmp_path: Path) -> None:
    data = os.urandom(5_000_000)
    source = tmp_path / "photo"
    source.write_bytes(data)
    key = original_key("img_01jd", "jpg")
    storage.put(key, source, content_type="image/jpeg", sha256=digest(data))
    with storage.open(key) as reader:
        assert (reader.info.size_bytes, reader.info.content_type) == (5_000_000, "image/jpeg")
        assert reader.info.sha256 == digest(data)
        assert b"".join(reader) == data


@pytest.mark.parametrize("checksums", ["when_required", "when_supported"])
def test_both_ways_of_checksums_are_taken(s3_server: S3Server, s3_bucket: str, checksums: str) -> None:
    storage = open_storage(settings_for(s3_server, s3_bucket, request_checksum_calculation=checksums))
    data = os.urandom(10_000)
    assert storage.get(put(storage, data), max_bytes=10_000, sha256=digest(data)) == data


@pytest.mark.parametrize(
    ("start", "end"), [(0, 10), (3, 7), (7, None), (None, 4), (5, 5), (8, 99), (10, None), (50, 60)]
)
def test_range_is_cut_like_a_slice(storage: Storage, start: int | None, end: int | None) -> None:
    data = b"0123456789"
    with storage.open(put(storage, data), start=start, end=end) as reader:
        assert b"".join(reader) == data[start:end]
        assert reader.info.size_bytes == 10


def test_missing_deleted_and_twice_deleted_objects(storage: Storage) -> None:
    key = put(storage, b"stream")
    storage.delete(key)
    storage.delete(key)
    for call in (lambda: storage.head(key), lambda: storage.open(key), lambda: storage.get(key, max_bytes=9)):
        with pytest.raises(ObjectNotFound):
            call()


def test_object_stored_twice_is_kept_and_another_size_is_told(storage: Storage) -> None:
    key = original_key("img_01jd")
    storage.put(key, b"first", content_type="image/png", sha256=digest(b"first"))
    storage.put(key, b"first", content_type="image/png", sha256=digest(b"first"))
    with pytest.raises(ObjectCorrupt):
        storage.put(key, b"second", content_type="image/png", sha256=digest(b"second"))
    assert storage.get(key, max_bytes=100) == b"first"


def test_damaged_object_is_replaced_on_demand(storage: Storage) -> None:
    key = put(storage, b"a stream")
    sha256 = digest(b"a stream")
    client = storage._client  # type: ignore[attr-defined]
    client.put_object(Bucket=storage._bucket, Key=storage._name(key), Body=b"a steam!")  # type: ignore[attr-defined]
    storage.put(key, b"a stream", content_type="application/octet-stream", sha256=sha256)
    with pytest.raises(ObjectCorrupt):
        storage.get(key, max_bytes=100, sha256=sha256)
    storage.put(key, b"a stream", content_type="application/octet-stream", sha256=sha256, replaces=True)
    assert storage.get(key, max_bytes=100, sha256=sha256) == b"a stream"


def test_many_writers_of_one_object_leave_it_whole(storage: Storage) -> None:
    data = os.urandom(300_000)
    failures: list[BaseException] = []

    def write() -> None:
        try:
            put(storage, data)
        except BaseException as error:  # noqa: BLE001 - a thread's error has to reach the assertion below
            failures.append(error)

    threads = [threading.Thread(target=write) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert storage.get(bitstream_key(digest(data)), max_bytes=300_000, sha256=digest(data)) == data


def test_list_of_several_pages_tells_everything_once(s3_settings: StorageSettings) -> None:
    storage = S3Storage(s3_settings, page_size=4)
    keys = {put(storage, bytes([n])) for n in range(11)}
    picture = reconstruction_key(digest(b"picture"), "png")
    storage.put(picture, b"picture", content_type="image/png", sha256=digest(b"picture"))
    listed = [info.key for info in storage.list("bitstreams/")]
    assert len(listed) == 11 and set(listed) == keys
    assert [info.key for info in storage.list("reconstructions/")] == [picture]


def test_two_archives_share_a_bucket_under_prefixes(s3_server: S3Server, s3_bucket: str) -> None:
    one = open_storage(settings_for(s3_server, s3_bucket, prefix="one"))
    two = open_storage(settings_for(s3_server, s3_bucket, prefix="two/"))
    key = put(one, b"stream")
    with pytest.raises(ObjectNotFound):
        two.head(key)
    assert list(two.list("bitstreams/")) == []
    names = [entry["Key"] for entry in new_client(s3_server).list_objects_v2(Bucket=s3_bucket)["Contents"]]
    assert names == [f"one/{key}"]


def test_presigned_url_gives_the_object_to_anybody_with_its_file_name(storage: Storage) -> None:
    data = os.urandom(100_000)
    key = put(storage, data)
    url = storage.presigned_url(key, timedelta(minutes=5), download_name="caf\u00e9.misc")
    assert url is not None
    status, body, headers = fetch(url)
    assert (status, body) == (200, data)
    assert headers["content-type"] == MISC
    assert headers["content-disposition"] == "attachment; filename*=UTF-8''caf%C3%A9.misc"


def test_presigned_url_is_refused_when_expired_tampered_or_unsigned(storage: Storage, s3_server: S3Server) -> None:
    key, other = put(storage, b"mine"), put(storage, b"not shared")
    brief = storage.presigned_url(key, timedelta(seconds=1))
    url = storage.presigned_url(key, timedelta(minutes=5))
    assert brief is not None and url is not None
    assert fetch(url)[0] == 200
    assert fetch(url.replace(key, other))[0] == 403
    assert fetch(url.replace("X-Amz-Expires=300", "X-Amz-Expires=9000"))[0] == 403
    assert fetch(url[:-1] + ("0" if url[-1] != "0" else "1"))[0] == 403
    status, body, _ = fetch(url.partition("?")[0])
    assert status in (400, 401, 403) and b"mine" not in body
    time.sleep(2.1)
    assert fetch(brief)[0] == 403


def test_wrong_secret_unknown_key_and_foreign_bucket_are_denied(s3_server: S3Server, s3_bucket: str) -> None:
    for changes in ({"secret_key": SecretStr("wrong")}, {"access_key": "no:body"}, {"bucket": "never-created"}):
        storage = open_storage(settings_for(s3_server, s3_bucket, **changes))
        with pytest.raises(StorageDenied):
            storage.check()
        with pytest.raises(StorageDenied):
            put(storage, b"stream")


def test_check_passes_on_a_server_that_is_there(storage: Storage) -> None:
    storage.check()
    storage.check()


def test_server_that_is_down_is_told_within_seconds_and_used_again_when_back(own_s3_server: S3Server) -> None:
    storage = open_storage(settings_for(own_s3_server, new_bucket(own_s3_server)))
    key = put(storage, b"stream")
    storage.check()
    own_s3_server.kill()
    assert seconds_of(storage.check, StorageUnavailable) < 5
    assert seconds_of(lambda: storage.get(key, max_bytes=10), StorageUnavailable) < 15
    assert seconds_of(lambda: put(storage, b"another"), StorageUnavailable) < 15
    assert seconds_of(lambda: list(storage.list("bitstreams/")), StorageUnavailable) < 15
    own_s3_server.start()
    storage.check()
    assert storage.get(key, max_bytes=10) == b"stream"


def test_server_that_hangs_is_given_up_within_the_time_limit(own_s3_server: S3Server) -> None:
    settings = settings_for(own_s3_server, new_bucket(own_s3_server))
    storage = S3Storage(settings, read_timeout_seconds=1.0)
    key = put(storage, b"stream")
    storage.check()
    own_s3_server.pause()
    # One try of 3 s for a check; three tries of 1 s, with waits of at most 1 and 2 s between them, for the rest.
    assert seconds_of(storage.check, StorageUnavailable) < 6
    assert seconds_of(lambda: storage.get(key, max_bytes=10), StorageUnavailable) < 12
    own_s3_server.resume()
    assert storage.get(key, max_bytes=10) == b"stream"


def test_server_killed_in_the_middle_of_a_put_shows_no_half_object_and_takes_it_afterwards(
    own_s3_server: S3Server, tmp_path: Path
) -> None:
    settings = settings_for(own_s3_server, new_bucket(own_s3_server))
    storage = S3Storage(settings, read_timeout_seconds=2.0)
    kept = put(storage, b"kept")
    data = os.urandom(40_000_000)
    source = tmp_path / "photo"
    source.write_bytes(data)
    key = original_key("img_01jd")
    outcome: list[BaseException | None] = []

    def write() -> None:
        try:
            storage.put(key, source, content_type="image/jpeg", sha256=digest(data))
            outcome.append(None)
        except StorageUnavailable as error:
            outcome.append(error)

    writer = threading.Thread(target=write)
    before = own_s3_server.written_bytes()
    writer.start()
    deadline = time.monotonic() + 20
    while own_s3_server.written_bytes() < before + 1_000_000 and time.monotonic() < deadline:
        time.sleep(0.002)
    own_s3_server.kill()
    writer.join(timeout=30)
    assert len(outcome) == 1 and isinstance(outcome[0], StorageUnavailable)

    own_s3_server.start()
    assert storage.get(kept, max_bytes=10) == b"kept"
    with pytest.raises(ObjectNotFound):
        storage.head(key)
    storage.put(key, source, content_type="image/jpeg", sha256=digest(data))
    assert digest(b"".join(storage.open(key))) == digest(data)


def test_writer_killed_in_the_middle_of_a_put_leaves_the_old_objects_and_no_half_one(
    own_s3_server: S3Server, tmp_path: Path
) -> None:
    bucket = new_bucket(own_s3_server)
    storage = open_storage(settings_for(own_s3_server, bucket))
    kept = put(storage, b"kept")
    source = tmp_path / "photo"
    source.write_bytes(bytes(60_000_000))
    script = (
        "import hashlib, pathlib, sys\n"
        "from core.settings import StorageSettings\n"
        "from core.storage import open_storage\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "sha256 = hashlib.sha256(path.read_bytes()).hexdigest()\n"
        "open_storage(StorageSettings()).put('originals/img_1', path, content_type='image/png', sha256=sha256)\n"
    )
    environment = os.environ | {
        "MISC_STORAGE_BACKEND": "s3",
        "MISC_STORAGE_BUCKET": bucket,
        "MISC_STORAGE_ENDPOINT_URL": own_s3_server.endpoint_url,
        "MISC_STORAGE_ACCESS_KEY": own_s3_server.access_key,
        "MISC_STORAGE_SECRET_KEY": own_s3_server.secret_key,
    }
    before = own_s3_server.written_bytes()
    writer = subprocess.Popen([sys.executable, "-c", script, source], env=environment, cwd=Path(__file__).parents[3])
    deadline = time.monotonic() + 30
    while own_s3_server.written_bytes() < before + 1_000_000 and time.monotonic() < deadline:
        time.sleep(0.002)
    writer.kill()
    assert writer.wait() == -signal.SIGKILL
    assert storage.get(kept, max_bytes=10) == b"kept"
    with pytest.raises(ObjectNotFound):
        storage.head("originals/img_1")
    assert list(storage.list("originals/")) == []
