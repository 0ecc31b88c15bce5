"""Buckets that keep versions of objects, and objects that a lock holds (S3 Object Lock)."""

from collections.abc import Iterator
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import botocore.exceptions

from core.errors import ObjectRetained
from core.storage.s3.errors import status_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_REFUSED = {HTTPStatus.FORBIDDEN, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.BAD_REQUEST}


def delete(client: "S3Client", key: str, where: dict[str, Any], *, with_versions: bool) -> None:
    """Delete the object at `where` (bucket and key), in a bucket that keeps versions behind a marker.

    `with_versions` deletes them all, and then the markers: an object of which a lock holds a version stays out of
    sight. Raises ObjectRetained for such a one, and the vendor's errors.
    """
    _delete(client, key, where)
    if with_versions:
        markers: list[str] = []
        for version in _versions(client, where, markers):
            _delete(client, key, where | {"VersionId": version})
        for version in markers:
            _delete(client, key, where | {"VersionId": version})


def peculiarities(client: "S3Client", bucket: str, *, deletes_versions: bool) -> list[str]:
    """What whoever runs the archive has to know of the bucket, in sentences; nothing where that may not be asked."""
    found = []
    try:
        keeps_versions = client.get_bucket_versioning(Bucket=bucket).get("Status") == "Enabled"
    except botocore.exceptions.ClientError:
        return []
    if keeps_versions and not deletes_versions:
        found.append(
            "The bucket keeps versions: what is deleted stays there and is paid for, until a lifecycle rule for "
            "noncurrent versions ends it, or MISC_STORAGE_DELETE_VERSIONS=true deletes them."
        )
    try:
        lock = client.get_object_lock_configuration(Bucket=bucket).get("ObjectLockConfiguration", {})
    except botocore.exceptions.ClientError:
        return found
    if lock.get("ObjectLockEnabled") == "Enabled":
        held = lock.get("Rule", {}).get("DefaultRetention", {})
        how_long = next((f"{held[unit]} {unit.lower()}" for unit in ("Days", "Years") if unit in held), "as each says")
        found.append(
            f"The bucket locks objects ({how_long}): what is deleted keeps its bytes until then. "
            "`misc admin fixity` tells how many deletions wait for that."
        )
    return found


def _versions(client: "S3Client", where: dict[str, Any], markers: list[str]) -> Iterator[str]:
    """Versions of the object that have bytes; those that are markers are gathered."""
    pages = client.get_paginator("list_object_versions").paginate(Bucket=where["Bucket"], Prefix=where["Key"])
    for page in pages:
        markers += [entry["VersionId"] for entry in page.get("DeleteMarkers", ()) if entry["Key"] == where["Key"]]
        yield from (entry["VersionId"] for entry in page.get("Versions", ()) if entry["Key"] == where["Key"])


def _delete(client: "S3Client", key: str, where: dict[str, Any]) -> None:
    try:
        client.delete_object(**where)
    except botocore.exceptions.ClientError as error:
        if status_of(error) not in _REFUSED or not (lock := _lock_of(client, where)):
            raise
        until, is_held = lock
        reason = "by a legal hold" if is_held else f"until {until:%Y-%m-%d %H:%M} UTC"
        raise ObjectRetained(f"{key} is locked {reason}; it is deleted after that", until) from error


def _lock_of(client: "S3Client", where: dict[str, Any]) -> tuple[datetime | None, bool] | None:
    """Until when an object is retained, and whether it is held besides; None for one that is free."""
    try:
        answer = client.head_object(**where)
    except botocore.exceptions.ClientError:
        return None
    until, is_held = answer.get("ObjectLockRetainUntilDate"), answer.get("ObjectLockLegalHoldStatus") == "ON"
    return (None if is_held else until, is_held) if until is not None or is_held else None
