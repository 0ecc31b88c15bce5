"""The S3 backend's own ways, on a simulated store and on scripted answers."""

import base64
import hashlib
import io
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import boto3.session
import botocore.exceptions
import pytest
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.response import StreamingBody
from botocore.stub import ANY, Stubber
from moto import mock_aws
from pydantic import SecretStr

from codec.media import MISC
from core.errors import ObjectCorrupt, ObjectNotFound, ServiceError, StorageDenied, StorageUnavailable
from core.settings import StorageBackend, StorageSettings
from core.storage import open_storage
from core.storage.keys import bitstream_key
from core.storage.s3 import S3Storage

DATA = b"stream" * 500
SHA256 = hashlib.sha256(DATA).hexdigest()
KEY = bitstream_key(SHA256)


@pytest.fixture
def scripted(simulated_settings: StorageSettings) -> tuple[S3Storage, Stubber]:
    """A store whose answers the test writes down."""
    storage = S3Storage(simulated_settings)
    return storage, Stubber(storage._client)


def test_factory_opens_the_store_that_the_settings_name(simulated_settings: StorageSettings) -> None:
    assert isinstance(open_storage(simulated_settings), S3Storage)


def test_keys_lie_below_the_prefix_with_their_digest_as_metadata(simulated_s3: S3Storage) -> None:
    simulated_s3.put(KEY, DATA, content_type=MISC, sha256=SHA256)
    client = boto3.client("s3", region_name="us-east-1")
    [entry] = client.list_objects_v2(Bucket="pictures")["Contents"]
    assert entry["Key"] == f"archive/one/{KEY}"
    head = client.head_object(Bucket="pictures", Key=entry["Key"])
    assert head["Metadata"] == {"sha256": SHA256}
    assert head["ContentType"] == MISC


def test_list_passes_over_what_is_none_of_ours(simulated_s3: S3Storage) -> None:
    simulated_s3.put(KEY, DATA, content_type=MISC, sha256=SHA256)
    client = boto3.client("s3", region_name="us-east-1")
    for name in ("archive/one/bitstreams/notes.txt", "bitstreams/" + "0" * 64 + ".misc", "archive/one/bitstreams/"):
        client.put_object(Bucket="pictures", Key=name, Body=b"x")
    assert [info.key for info in simulated_s3.list("bitstreams/")] == [KEY]


def test_check_writes_at_first_and_then_only_looks(simulated_s3: S3Storage) -> None:
    client = boto3.client("s3", region_name="us-east-1")
    simulated_s3.check()
    assert client.head_object(Bucket="pictures", Key="archive/one/probes/writable")["ContentLength"] > 0
    client.delete_object(Bucket="pictures", Key="archive/one/probes/writable")
    simulated_s3.check()
    assert "Contents" not in client.list_objects_v2(Bucket="pictures")


def test_large_file_goes_in_parts(
    simulated_settings: StorageSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A store takes no part but the last of less than 5 MB.
    monkeypatch.setattr("core.storage.s3.storage.PART_BYTES", 5 << 20)
    data = random.Random(1).randbytes((11 << 20) + 1)
    sha256 = hashlib.sha256(data).hexdigest()
    file = tmp_path / "weights"
    file.write_bytes(data)
    with mock_aws():
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="pictures")
        storage = S3Storage(simulated_settings, most_in_one_bytes=1 << 20)
        storage.put(f"networks/{sha256}.weights", file, content_type="application/octet-stream", sha256=sha256)
        info = storage.head(f"networks/{sha256}.weights")
        assert (info.size_bytes, (info.etag or "").strip('"').endswith("-3")) == (len(data), True)
        assert storage.get(f"networks/{sha256}.weights", max_bytes=len(data), sha256=sha256) == data
        with pytest.raises(ObjectCorrupt):
            storage.put(f"networks/{'0' * 64}.weights", file, content_type="text/plain", sha256="0" * 64)


def test_missing_bucket_is_told_by_its_name(simulated_settings: StorageSettings) -> None:
    with mock_aws():
        storage = S3Storage(simulated_settings)
        with pytest.raises(StorageDenied, match="no bucket pictures; create it"):
            storage.check()
        with pytest.raises(StorageDenied, match="NoSuchBucket"):
            storage.get(KEY, max_bytes=10)


def test_presigned_url_names_the_public_host_and_the_time_it_lives(simulated_settings: StorageSettings) -> None:
    settings = simulated_settings.model_copy(
        update={"endpoint_url": "http://store:8333", "public_endpoint_url": "https://pictures.example.org"}
    )
    storage = S3Storage(settings)
    url = urlsplit(storage.presigned_url(KEY, timedelta(seconds=90), download_name='a "b"\r\n\u00e9.misc'))
    query = parse_qs(url.query)
    assert (url.scheme, url.netloc) == ("https", "pictures.example.org")
    assert url.path == f"/pictures/archive/one/{KEY}"
    assert query["X-Amz-Expires"] == ["90"]
    assert query["response-content-disposition"] == ["attachment; filename*=UTF-8''a%20%22b%22%0D%0A%C3%A9.misc"]
    default = parse_qs(urlsplit(storage.presigned_url(KEY)).query)
    assert default["X-Amz-Expires"] == [str(int(settings.presign_expires.total_seconds()))]
    year = parse_qs(urlsplit(storage.presigned_url(KEY, timedelta(days=365))).query)
    assert year["X-Amz-Expires"] == ["604800"]


@pytest.mark.parametrize("prefix", ["../up", "a/../b", "a b", "a//b", "a\nb"])
def test_prefix_that_is_no_plain_path_is_refused(simulated_settings: StorageSettings, prefix: str) -> None:
    with pytest.raises(ValueError, match="is no prefix"):
        S3Storage(simulated_settings.model_copy(update={"prefix": prefix}))


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "NoSuchKey", ObjectNotFound),
        (404, "404", ObjectNotFound),
        (404, "NoSuchBucket", StorageDenied),
        (401, "Unauthorized", StorageDenied),
        (403, "AccessDenied", StorageDenied),
        (403, "SignatureDoesNotMatch", StorageDenied),
        (403, "RequestTimeTooSkewed", StorageDenied),
        (301, "PermanentRedirect", StorageDenied),
        (408, "RequestTimeout", StorageUnavailable),
        (429, "TooManyRequests", StorageUnavailable),
        (500, "InternalError", StorageUnavailable),
        (503, "SlowDown", StorageUnavailable),
        (507, "InsufficientStorage", StorageUnavailable),
    ],
)
def test_answers_of_a_store_become_our_errors(
    scripted: tuple[S3Storage, Stubber], status: int, code: str, kind: type[ServiceError]
) -> None:
    storage, answers = scripted
    answers.add_client_error("get_object", code, http_status_code=status)
    with answers, pytest.raises(ServiceError) as caught:
        storage.get(KEY, max_bytes=10)
    assert type(caught.value) is kind
    assert isinstance(caught.value.__cause__, botocore.exceptions.ClientError)


@pytest.mark.parametrize("code", ["BadDigest", "XAmzContentSHA256Mismatch"])
def test_body_damaged_on_its_way_is_told_as_damage(scripted: tuple[S3Storage, Stubber], code: str) -> None:
    storage, answers = scripted
    answers.add_client_error("head_object", "404", http_status_code=404)
    answers.add_client_error("put_object", code, http_status_code=400)
    with answers, pytest.raises(StorageUnavailable, match="damaged on their way"):
        storage.put(KEY, DATA, content_type=MISC, sha256=SHA256)


def expected_put(**more: Any) -> dict[str, Any]:
    return {
        "Bucket": "pictures",
        "Key": f"archive/one/{KEY}",
        "Body": ANY,
        "ContentType": MISC,
        "ContentLength": len(DATA),
        "Metadata": {"sha256": SHA256},
        "ContentMD5": base64.b64encode(hashlib.md5(DATA, usedforsecurity=False).digest()).decode(),
    } | more


@pytest.mark.parametrize(("status", "code"), [(501, "NotImplemented"), (400, "InvalidArgument"), (405, "")])
def test_store_without_conditional_puts_is_asked_once_for_them(
    scripted: tuple[S3Storage, Stubber], status: int, code: str
) -> None:
    storage, answers = scripted
    answers.add_client_error("head_object", "404", http_status_code=404)
    answers.add_client_error("put_object", code, http_status_code=status, expected_params=expected_put(IfNoneMatch="*"))
    answers.add_response("put_object", {}, expected_put())
    answers.add_client_error("head_object", "404", http_status_code=404)
    answers.add_response("put_object", {}, expected_put())
    with answers:
        storage.put(KEY, DATA, content_type=MISC, sha256=SHA256)
        storage.put(KEY, DATA, content_type=MISC, sha256=SHA256)
        answers.assert_no_pending_responses()


def test_store_that_keeps_conditions_is_not_asked_before_a_small_put(scripted: tuple[S3Storage, Stubber]) -> None:
    storage, answers = scripted
    conditional = expected_put(IfNoneMatch="*")
    answers.add_client_error("head_object", "404", http_status_code=404)
    answers.add_response("put_object", {}, conditional)
    answers.add_client_error("put_object", "PreconditionFailed", http_status_code=412, expected_params=conditional)
    answers.add_response("put_object", {}, conditional)
    answers.add_client_error("put_object", "PreconditionFailed", http_status_code=412, expected_params=conditional)
    answers.add_response("head_object", {"ContentLength": len(DATA), "LastModified": datetime.now(UTC)})
    with answers:
        for _ in range(3):
            storage.put(KEY, DATA, content_type=MISC, sha256=SHA256)
        answers.assert_no_pending_responses()


@pytest.mark.parametrize("status", [200, 503])
def test_store_that_ignores_conditions_is_asked_before_each_put(
    scripted: tuple[S3Storage, Stubber], status: int
) -> None:
    storage, answers = scripted
    answers.add_client_error("head_object", "404", http_status_code=404)
    answers.add_response("put_object", {})
    if status == 200:
        answers.add_response("put_object", {})
    else:
        answers.add_client_error("put_object", "SlowDown", http_status_code=status)
    answers.add_response("head_object", {"ContentLength": len(DATA), "LastModified": datetime.now(UTC)})
    with answers:
        for _ in range(2):
            storage.put(KEY, DATA, content_type=MISC, sha256=SHA256)
        answers.assert_no_pending_responses()


def test_store_that_refuses_the_put_itself_keeps_its_conditions(scripted: tuple[S3Storage, Stubber]) -> None:
    storage, answers = scripted
    answers.add_client_error("head_object", "404", http_status_code=404)
    answers.add_client_error("put_object", "InvalidRequest", http_status_code=400)
    answers.add_client_error("put_object", "InvalidRequest", http_status_code=400, expected_params=expected_put())
    with answers, pytest.raises(StorageDenied, match="InvalidRequest"):
        storage.put(KEY, DATA, content_type=MISC, sha256=SHA256)
    assert storage._conditional_puts


@pytest.mark.parametrize(("start", "end"), [(10, 20), (0, 7), (2990, None), (5000, None), (0, 9999), (299, 301)])
def test_store_that_ignores_ranges_gives_the_bytes_that_were_asked_for(
    scripted: tuple[S3Storage, Stubber], start: int, end: int | None
) -> None:
    storage, answers = scripted
    whole = {"Body": StreamingBody(io.BytesIO(DATA), len(DATA)), "ContentLength": len(DATA), "ETag": "x"}
    answers.add_response("get_object", whole | {"ResponseMetadata": {"HTTPStatusCode": 200}})
    with answers, storage.open(KEY, start=start, end=end) as reader:
        assert reader.info.size_bytes == len(DATA)
        assert b"".join(reader) == DATA[start:end]


def test_store_that_tells_no_dates_is_read_and_listed_as_new(scripted: tuple[S3Storage, Stubber]) -> None:
    storage, answers = scripted
    before = datetime.now(UTC)
    answers.add_response("head_object", {"ContentLength": 5})
    answers.add_response("list_objects_v2", {"Contents": [{"Key": f"archive/one/{KEY}", "Size": 5}]})
    with answers:
        infos = [storage.head(KEY), *storage.list("bitstreams/")]
    assert [(info.key, info.size_bytes) for info in infos] == [(KEY, 5), (KEY, 5)]
    assert all(info.modified_at >= before for info in infos)


def test_store_that_gives_back_something_else_is_not_ready(simulated_settings: StorageSettings) -> None:
    storage = S3Storage(simulated_settings)
    answers = Stubber(storage._check_client)
    answers.add_response("head_bucket", {})
    answers.add_response("put_object", {})
    answers.add_response("get_object", {"Body": StreamingBody(io.BytesIO(b"<html>"), 6), "ContentLength": 6})
    with answers, pytest.raises(StorageDenied, match="does not give back"):
        storage.check()


def test_writer_that_lost_the_race_keeps_what_the_winner_stored(
    scripted: tuple[S3Storage, Stubber],
) -> None:
    storage, answers = scripted
    found = {"ContentLength": len(DATA), "LastModified": "2026-01-01T00:00:00Z"}
    answers.add_client_error("head_object", "404", http_status_code=404)
    answers.add_client_error("put_object", "PreconditionFailed", http_status_code=412)
    answers.add_response("head_object", found)
    with answers:
        storage.put(KEY, DATA, content_type=MISC, sha256=SHA256)
        answers.assert_no_pending_responses()


def test_keys_may_come_from_the_environment_and_are_missed_in_plain_words(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setattr(boto3.session, "Session", lambda: boto3.Session())
    settings = StorageSettings(backend=StorageBackend.S3, endpoint_url="http://127.0.0.1:9")
    with pytest.raises(StorageDenied, match="MISC_STORAGE_ACCESS_KEY"):
        S3Storage(settings).check()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from-the-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert "from-the-environment" in S3Storage(settings).presigned_url(KEY)


def test_secret_is_not_told_by_the_settings(simulated_settings: StorageSettings) -> None:
    assert "hush" not in repr(simulated_settings.model_copy(update={"secret_key": SecretStr("hush")}))


class _Raw(io.BytesIO):
    """A body as the SDK reads it from a connection."""

    def stream(self, **_: object) -> Iterator[bytes]:
        yield self.read()


def test_deletion_is_sent_once(simulated_settings: StorageSettings) -> None:
    """A second one that succeeds would hide that the first may still be carried out."""
    storage, sent = S3Storage(simulated_settings), []

    def _unavailable(request: AWSRequest, **_: object) -> AWSResponse:
        sent.append(request.method)
        return AWSResponse(request.url, 503, {}, _Raw())

    storage._deleting_client.meta.events.register("before-send.s3.DeleteObject", _unavailable)
    with pytest.raises(StorageUnavailable):
        storage.delete(KEY)
    assert sent == ["DELETE"]
