"""What a store answers when it does not do what was asked, as our errors."""

import contextlib
from collections.abc import Iterator
from http import HTTPStatus

import botocore.exceptions
import urllib3.exceptions
from botocore.parsers import ResponseParserError

from core.errors import ObjectNotFound, StorageDenied, StorageUnavailable

_UNAVAILABLE_STATUS = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS}
_DENIED_STATUS = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
DIGEST_CODES = {"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"}
_CREDENTIAL_ERRORS = (
    botocore.exceptions.NoCredentialsError,
    botocore.exceptions.PartialCredentialsError,
    botocore.exceptions.CredentialRetrievalError,
)
TRANSPORT_ERRORS = (
    botocore.exceptions.HTTPClientError,
    botocore.exceptions.ConnectionError,
    botocore.exceptions.IncompleteReadError,
    ResponseParserError,
    urllib3.exceptions.HTTPError,
    OSError,
)


class RangeBeyondEnd(Exception):
    """The range begins after the last byte."""


@contextlib.contextmanager
def vendor_errors(what: str, *, absent: bool = False) -> Iterator[None]:
    """Turn the vendor's errors into ours; `absent` says that a 404 means a missing object."""
    try:
        yield
    except botocore.exceptions.ClientError as error:
        status, code = status_of(error), code_of(error)
        answer = f"{what}: the store answered {status} {code}".rstrip()
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise RangeBeyondEnd from error
        if code in DIGEST_CODES:
            raise StorageUnavailable(f"{answer}: the bytes were damaged on their way") from error
        if status == HTTPStatus.NOT_FOUND and absent and code != "NoSuchBucket":
            raise ObjectNotFound(f"{what} is not in storage") from error
        if status in _UNAVAILABLE_STATUS or status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == 0:
            raise StorageUnavailable(f"{answer}; try again later") from error
        if status in _DENIED_STATUS:
            raise StorageDenied(f"{answer}; check the keys, the clock and the bucket's policy") from error
        raise StorageDenied(f"{answer}; check the bucket's name, the region and the address") from error
    except _CREDENTIAL_ERRORS as error:
        raise StorageDenied(
            f"no keys for the store ({error}); set MISC_STORAGE_ACCESS_KEY and MISC_STORAGE_SECRET_KEY"
        ) from error
    except TRANSPORT_ERRORS as error:
        raise StorageUnavailable(f"{what}: the store cannot be reached: {error}") from error


def status_of(error: botocore.exceptions.ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code_of(error: botocore.exceptions.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
