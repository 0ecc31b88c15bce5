"""Objects in an S3-compatible store: sent in one request each, and in parts those of more than 1 GiB."""

import base64
import contextlib
import hashlib
import re
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

import boto3.session
import botocore.exceptions

from core.errors import ObjectCorrupt, ObjectNotFound, StorageDenied, StorageUnavailable
from core.settings import StorageSettings
from core.storage import CHUNK_BYTES, ObjectInfo, ObjectReader, read_whole
from core.storage.keys import check_key, check_prefix, digest_in
from core.storage.s3 import versions
from core.storage.s3.clients import new_client
from core.storage.s3.errors import DIGEST_CODES, TRANSPORT_ERRORS, RangeBeyondEnd, code_of, status_of, vendor_errors
from core.storage.s3.parts import PART_BYTES, put_in_parts

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_ATTEMPTS = 3
"""Tries of one request; a store that is down for longer is a matter for the retry of the whole job."""

_CONNECT_TIMEOUT_SECONDS = 3.0
_READ_TIMEOUT_SECONDS = 15.0
"""Silence of the store, not the length of a transfer."""

_CHECK_TIMEOUT_SECONDS = 3.0
"""Readiness is checked every few seconds and has to be known before the next check."""

_WRITE_PROBE_INTERVAL_SECONDS = 60.0
"""Writes cost money where requests are billed; between two of them a check only looks for the bucket."""

_WRITE_PROBE_KEY, _WRITE_PROBE = "probes/writable", b"written by a check of readiness\n"

_CONDITION_REFUSED = {HTTPStatus.BAD_REQUEST, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED}
"""What stores without conditional puts answer to one; the same put without the condition tells."""

_LONGEST_URL_SECONDS = 7 * 24 * 3600
"""What version 4 signatures allow."""

_PREFIX = re.compile(r"(?:[0-9A-Za-z._-]{1,64}/){0,8}")
_MOST_IN_ONE_BYTES = 1 << 30
"""Above it a broken line costs more than the further requests do; stores take 5 GB."""

_MOST_UNASKED_BYTES = 1 << 20
"""Up to here an object is sent without a question before it: the condition of the put asks whether it is there."""


class S3Storage:
    """A `Storage` in one bucket, which has to exist. Keys begin with the prefix of the settings."""

    def __init__(
        self,
        settings: StorageSettings,
        *,
        read_timeout_seconds: float = _READ_TIMEOUT_SECONDS,
        page_size: int = 1000,
        most_in_one_bytes: int = _MOST_IN_ONE_BYTES,
    ) -> None:
        """Prepare clients; nothing is sent. Files of more than `most_in_one_bytes` go in several requests.

        Raises ValueError for a prefix that is no path of plain names.
        """
        self._settings = settings
        self._bucket = settings.bucket
        self._prefix = f"{settings.prefix.strip('/')}/" if settings.prefix.strip("/") else ""
        if _PREFIX.fullmatch(self._prefix) is None or ".." in self._prefix:
            raise ValueError(f"{settings.prefix!r} is no prefix; use names of letters, digits, '.', '_' and '-'")
        self._page_size = page_size
        self._most_in_one_bytes = most_in_one_bytes
        self._session = boto3.session.Session()
        self._lock = threading.Lock()
        self._read_timeout_seconds = read_timeout_seconds
        self._client = self._new_reading_client()
        self._check_client = new_client(
            self._session, settings, settings.endpoint_url, _CHECK_TIMEOUT_SECONDS, _CHECK_TIMEOUT_SECONDS, 1
        )
        # A deletion that is sent again after a time-out hides that the first one may still be carried out.
        self._deleting_client = new_client(
            self._session, settings, settings.endpoint_url, read_timeout_seconds, _CONNECT_TIMEOUT_SECONDS, 1
        )
        # A signature covers the host's name, so URLs for the outside need a client that knows the outside's name.
        public = settings.public_endpoint_url
        self._signing_client = (
            new_client(self._session, settings, public, read_timeout_seconds, _CONNECT_TIMEOUT_SECONDS, 1)
            if public
            else self._client
        )
        self._conditional_puts = True
        self._keeps_conditions: bool | None = None
        self._written_at: float | None = None

    def put(self, key: str, data: bytes | Path, *, content_type: str, sha256: str, replaces: bool = False) -> None:
        """See `Storage.put`. The store checks the digest once more on arrival: it is part of the signature."""
        name = self._name(key)
        if digest_in(key) not in (None, sha256):
            raise ValueError(f"{key} is named after another digest than {sha256}")
        size_bytes, md5 = _check_digest(key, data, sha256)
        is_asked_by_put = self._keeps_conditions and self._conditional_puts and size_bytes <= _MOST_UNASKED_BYTES
        if not replaces and not is_asked_by_put and self._is_kept(key, size_bytes):
            return
        request: dict[str, Any] = {
            "Bucket": self._bucket,
            "Key": name,
            "ContentType": content_type,
            "ContentLength": size_bytes,
            "Metadata": {"sha256": sha256},
            # Buckets with object lock take no object without it.
            "ContentMD5": md5,
        }
        if isinstance(data, Path) and size_bytes > self._most_in_one_bytes:
            with vendor_errors(key):
                put_in_parts(self._client, request, data, PART_BYTES)
            return
        # Conditional puts keep a late writer from replacing an object, where the store has them. They are no lock,
        # and need not be one: whoever else writes this key writes the same bytes.
        if self._conditional_puts and not replaces:
            with _body(data) as body, vendor_errors(key):
                try:
                    self._client.put_object(**request, Body=body, IfNoneMatch="*")
                    self._learn_whether_conditions_are_kept(request, data)
                    return
                except botocore.exceptions.ClientError as error:
                    status = status_of(error)
                    if status == HTTPStatus.PRECONDITION_FAILED:
                        if self._is_kept(key, size_bytes):
                            return
                        raise StorageUnavailable(f"{key} was deleted while it was written; try again") from error
                    if status not in _CONDITION_REFUSED or code_of(error) in DIGEST_CODES:
                        raise
        with _body(data) as body, vendor_errors(key):
            self._client.put_object(**request, Body=body)
            # Only now is it known that it was the condition that the store refused.
            self._conditional_puts = self._conditional_puts and replaces

    def open(self, key: str, *, start: int | None = None, end: int | None = None, fresh: bool = False) -> ObjectReader:
        """See `Storage.open`."""
        name = self._name(key)
        first = max(start or 0, 0)
        request: dict[str, Any] = {"Bucket": self._bucket, "Key": name}
        if first > 0 or end is not None:
            if end is not None and end <= first:
                return ObjectReader(self.head(key), iter(()), lambda: None)
            request["Range"] = f"bytes={first}-{'' if end is None else end - 1}"
        client = self._new_reading_client() if fresh else self._client
        with contextlib.ExitStack() as opened:
            if fresh:
                opened.callback(client.close)
            try:
                with vendor_errors(key, absent=True):
                    answer = client.get_object(**request)
            except RangeBeyondEnd:
                return ObjectReader(self.head(key), iter(()), lambda: None)
            opened.callback(answer["Body"].close)
            close = opened.pop_all().close
        body = answer["Body"]
        size_bytes = sent_bytes = _size_in(key, answer)
        chunks = _chunks(key, body, sent_bytes)
        if "Range" in request:
            if (total := answer.get("ContentRange", "").rpartition("/")[2]).isdigit():
                size_bytes = int(total)
            elif _is_whole(answer):
                chunks = _section(chunks, first, end)
        return ObjectReader(_info(key, answer, size_bytes), chunks, close)

    def get(self, key: str, *, max_bytes: int, sha256: str | None = None) -> bytes:
        """See `Storage.get`."""
        return read_whole(self, key, max_bytes, sha256)

    def head(self, key: str) -> ObjectInfo:
        """See `Storage.head`."""
        name = self._name(key)
        with vendor_errors(key, absent=True):
            answer = self._client.head_object(Bucket=self._bucket, Key=name)
        return _info(key, answer, _size_in(key, answer))

    def delete(self, key: str) -> None:
        """See `Storage.delete`."""
        name = self._name(key)
        with contextlib.suppress(ObjectNotFound), vendor_errors(key, absent=True):
            where = {"Bucket": self._bucket, "Key": name}
            versions.delete(self._deleting_client, key, where, with_versions=self._settings.delete_versions)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See `Storage.list`. Objects that no key names, which somebody else put there, are passed over."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket,
            Prefix=self._prefix + check_prefix(prefix),
            PaginationConfig={"PageSize": self._page_size},
        )
        for page in _each_page(prefix, pages):
            for entry in page.get("Contents", ()):
                key = entry["Key"].removeprefix(self._prefix)
                try:
                    digest = digest_in(check_key(key))
                except ValueError:
                    continue
                yield ObjectInfo(
                    key=key,
                    size_bytes=entry["Size"],
                    modified_at=_moment_in(entry),
                    sha256=digest,
                    etag=entry.get("ETag"),
                )

    def presigned_url(self, key: str, expires: timedelta | None = None, *, download_name: str | None = None) -> str:
        """See `Storage.presigned_url`. With `download_name` browsers save the object under that name."""
        name = self._name(key)
        seconds = int((expires or self._settings.presign_expires).total_seconds())
        parameters: dict[str, Any] = {"Bucket": self._bucket, "Key": name}
        if download_name is not None:
            parameters["ResponseContentDisposition"] = f"attachment; filename*=UTF-8''{quote(download_name, safe='')}"
        with vendor_errors(key):
            return self._signing_client.generate_presigned_url(
                "get_object", Params=parameters, ExpiresIn=min(max(seconds, 1), _LONGEST_URL_SECONDS)
            )

    def check(self) -> None:
        """See `Storage.check`. Once a minute writes a small object and reads it back, as jobs do; else looks for
        the bucket. Never retries."""
        with self._lock:
            is_due = self._written_at is None or time.monotonic() - self._written_at > _WRITE_PROBE_INTERVAL_SECONDS
        with vendor_errors(f"bucket {self._bucket}", absent=True):
            try:
                self._check_client.head_bucket(Bucket=self._bucket)
            except botocore.exceptions.ClientError as error:
                if status_of(error) == HTTPStatus.NOT_FOUND:
                    raise StorageDenied(
                        f"there is no bucket {self._bucket}; create it, or set MISC_STORAGE_BUCKET"
                    ) from error
                raise
            if is_due:
                name = self._prefix + _WRITE_PROBE_KEY
                self._check_client.put_object(
                    Bucket=self._bucket, Key=name, Body=_WRITE_PROBE, ContentType="text/plain"
                )
                found = self._check_client.get_object(Bucket=self._bucket, Key=name)["Body"].read()
                if found != _WRITE_PROBE:
                    raise StorageDenied(
                        f"bucket {self._bucket}: the store does not give back what it was given; nothing is safe there"
                    )
                with self._lock:
                    self._written_at = time.monotonic()

    def peculiarities(self) -> Sequence[str]:
        """See `Storage.peculiarities`."""
        with vendor_errors(f"bucket {self._bucket}"):
            return versions.peculiarities(
                self._check_client, self._bucket, deletes_versions=self._settings.delete_versions
            )

    def close(self) -> None:
        """See `Storage.close`."""
        for client in (self._client, self._check_client, self._deleting_client, self._signing_client):
            client.close()

    def _new_reading_client(self) -> "S3Client":
        # A session makes clients for one thread at a time.
        with self._lock:
            return new_client(
                self._session,
                self._settings,
                self._settings.endpoint_url,
                self._read_timeout_seconds,
                _CONNECT_TIMEOUT_SECONDS,
                _ATTEMPTS,
            )

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _learn_whether_conditions_are_kept(self, request: dict[str, Any], data: bytes | Path) -> None:
        """Write the object that was just written once more: there are stores that take a condition and ignore it."""
        if self._keeps_conditions is not None or request["ContentLength"] > _MOST_UNASKED_BYTES:
            return
        self._keeps_conditions = False
        try:
            with _body(data) as body:
                self._client.put_object(**request, Body=body, IfNoneMatch="*")
        except botocore.exceptions.ClientError as error:
            self._keeps_conditions = status_of(error) == HTTPStatus.PRECONDITION_FAILED
        except TRANSPORT_ERRORS:
            # The object is there; the next one asks.
            self._keeps_conditions = None

    def _is_kept(self, key: str, size_bytes: int) -> bool:
        try:
            present_bytes = self.head(key).size_bytes
        except ObjectNotFound:
            return False
        if present_bytes != size_bytes:
            raise ObjectCorrupt(
                f"{key} is already stored with {present_bytes} bytes, not {size_bytes}; delete it to store it anew"
            )
        return True


def _check_digest(key: str, data: bytes | Path, sha256: str) -> tuple[int, str]:
    """Hash the data before it is sent; returns its size and MD5 in base64. Raises ObjectCorrupt on another digest."""
    digest, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    size_bytes = 0
    with _body(data) as body:
        chunks = (body,) if isinstance(body, bytes) else iter(lambda: body.read(CHUNK_BYTES), b"")
        for chunk in chunks:
            digest.update(chunk)
            md5.update(chunk)
            size_bytes += len(chunk)
    if digest.hexdigest() != sha256:
        raise ObjectCorrupt(f"the data for {key} has the digest {digest.hexdigest()}, not {sha256}")
    return size_bytes, base64.b64encode(md5.digest()).decode()


@contextlib.contextmanager
def _body(data: bytes | Path) -> Iterator[bytes | BinaryIO]:
    if isinstance(data, Path):
        with data.open("rb") as file:
            yield file
    else:
        yield data


def _chunks(key: str, body: Any, size_bytes: int) -> Iterator[bytes]:
    read_bytes = 0
    while True:
        with vendor_errors(key):
            chunk = body.read(CHUNK_BYTES)
        if not chunk:
            break
        read_bytes += len(chunk)
        yield chunk
    if read_bytes != size_bytes:
        raise StorageUnavailable(f"{key}: the store broke off after {read_bytes} of {size_bytes} bytes; try again")


def _section(chunks: Iterator[bytes], first: int, end: int | None) -> Iterator[bytes]:
    """The bytes `[first, end)` of a whole object, from a store that does not know ranges."""
    at = 0
    for chunk in chunks:
        piece = chunk[max(first - at, 0) : None if end is None else max(end - at, 0)]
        at += len(chunk)
        if piece:
            yield piece
        if end is not None and at >= end:
            return


def _is_whole(answer: Any) -> bool:
    return bool(answer["ResponseMetadata"]["HTTPStatusCode"] == HTTPStatus.OK)


def _size_in(key: str, answer: Any) -> int:
    size_bytes: int | None = answer.get("ContentLength")
    if size_bytes is None:
        raise StorageDenied(f"{key}: the store does not tell the size; something in between takes headers away")
    return size_bytes


def _moment_in(answer: Any) -> datetime:
    """When the object was written; now, where the store does not tell, since what is new is spared by sweeps."""
    moment: datetime | None = answer.get("LastModified")
    return moment or datetime.now(UTC)


def _each_page(prefix: str, pages: Any) -> Iterator[Any]:
    iterator = iter(pages)
    while True:
        with vendor_errors(f"list of {prefix}"):
            page = next(iterator, None)
        if page is None:
            return
        yield page


def _info(key: str, answer: Any, size_bytes: int) -> ObjectInfo:
    return ObjectInfo(
        key=key,
        size_bytes=size_bytes,
        modified_at=_moment_in(answer),
        content_type=answer.get("ContentType"),
        sha256=digest_in(key) or answer.get("Metadata", {}).get("sha256"),
        etag=answer.get("ETag"),
    )
