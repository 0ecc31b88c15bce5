"""Buckets that keep versions, and objects that a lock holds: what the store keeps is told, and goes later."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from sqlalchemy import select

from core.archive import deletions, object_lifecycle
from core.archive.object_lifecycle import NewObject
from core.breaker import Breaker
from core.database import Database
from core.errors import ObjectNotFound, ObjectRetained
from core.settings import DatabaseSettings, StorageSettings
from core.storage.guarded import GuardedStorage
from core.storage.keys import bitstream_key
from core.storage.s3 import S3Storage
from models.base import utc_now
from models.pending_deletion import PendingDeletion

DATA = b"a stream"
SHA256 = hashlib.sha256(DATA).hexdigest()
KEY = bitstream_key(SHA256)
NAME = f"archive/one/{KEY}"


@pytest.fixture
def client() -> Iterator[Any]:
    """A plain client of a simulated store."""
    with mock_aws():
        yield boto3.client("s3", region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret")


@pytest.fixture
def versioned(client: Any) -> Any:
    """A bucket that keeps versions."""
    client.create_bucket(Bucket="pictures")
    client.put_bucket_versioning(Bucket="pictures", VersioningConfiguration={"Status": "Enabled"})
    return client


@pytest.fixture
def locked(client: Any) -> Any:
    """A bucket that keeps every object for a day."""
    client.create_bucket(Bucket="pictures", ObjectLockEnabledForBucket=True)
    rule = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}
    client.put_object_lock_configuration(Bucket="pictures", ObjectLockConfiguration=rule)
    return client


@pytest.fixture
def database(migrated_file: Path, tmp_path: Path) -> Iterator[Database]:
    shutil.copy(migrated_file, tmp_path / "misc.db")
    with closing(Database(DatabaseSettings(url=f"sqlite:///{tmp_path}/misc.db"))) as database:
        yield database


def _opened(settings: StorageSettings, *, delete_versions: bool) -> S3Storage:
    return S3Storage(settings.model_copy(update={"delete_versions": delete_versions}), page_size=3)


def _put(storage: S3Storage) -> None:
    storage.put(KEY, DATA, content_type="application/octet-stream", sha256=SHA256)


def _versions(client: Any) -> tuple[int, int]:
    """How many versions with bytes, and how many markers there are of the object."""
    answer = client.list_object_versions(Bucket="pictures", Prefix=NAME)
    return len(answer.get("Versions", [])), len(answer.get("DeleteMarkers", []))


def _is_there(storage: S3Storage) -> bool:
    try:
        storage.head(KEY)
    except ObjectNotFound:
        return False
    return True


def test_deleted_object_stays_as_a_version_and_can_be_stored_again(
    versioned: Any, simulated_settings: StorageSettings
) -> None:
    storage = _opened(simulated_settings, delete_versions=False)
    _put(storage)
    storage.delete(KEY)
    assert not _is_there(storage) and list(storage.list("bitstreams/")) == []
    assert _versions(versioned) == (1, 1)
    storage.delete(KEY)
    _put(storage)
    assert storage.get(KEY, max_bytes=100, sha256=SHA256) == DATA
    assert "keeps versions" in storage.peculiarities()[0]


def test_all_versions_go_where_that_is_asked_for_and_those_of_others_stay(
    versioned: Any, simulated_settings: StorageSettings
) -> None:
    storage = _opened(simulated_settings, delete_versions=True)
    for _ in range(3):
        storage.put(KEY, DATA, content_type="application/octet-stream", sha256=SHA256, replaces=True)
    versioned.put_object(Bucket="pictures", Key=f"{NAME}.copy", Body=b"somebody else's")
    storage.delete(KEY)
    assert not _is_there(storage)
    left = versioned.list_object_versions(Bucket="pictures")
    assert [entry["Key"] for entry in left["Versions"]] == [f"{NAME}.copy"] and "DeleteMarkers" not in left
    assert storage.peculiarities() == []


def test_plain_bucket_is_as_before(client: Any, simulated_settings: StorageSettings) -> None:
    client.create_bucket(Bucket="pictures")
    for delete_versions in (False, True):
        storage = _opened(simulated_settings, delete_versions=delete_versions)
        _put(storage)
        storage.delete(KEY)
        storage.delete(KEY)
        assert not _is_there(storage) and _versions(client) == (0, 0)
        assert storage.peculiarities() == []


def test_locked_object_is_told_with_its_date_and_is_out_of_sight(
    locked: Any, simulated_settings: StorageSettings
) -> None:
    storage = _opened(simulated_settings, delete_versions=True)
    _put(storage)
    with pytest.raises(ObjectRetained, match="is locked until") as raised:
        storage.delete(KEY)
    assert raised.value.until is not None
    assert timedelta(hours=23) < raised.value.until - datetime.now(UTC) < timedelta(hours=25)
    assert not _is_there(storage) and _versions(locked)[0] == 1
    assert any("locks objects (1 days)" in sentence for sentence in storage.peculiarities())
    version = locked.list_object_versions(Bucket="pictures", Prefix=NAME)["Versions"][0]["VersionId"]
    locked.put_object_legal_hold(Bucket="pictures", Key=NAME, VersionId=version, LegalHold={"Status": "ON"})
    with pytest.raises(ObjectRetained, match="by a legal hold") as held:
        storage.delete(KEY)
    assert held.value.until is None


def test_refusal_of_one_object_does_not_hold_the_store_for_away(
    locked: Any, simulated_settings: StorageSettings
) -> None:
    breaker = Breaker("storage")
    storage = GuardedStorage(_opened(simulated_settings, delete_versions=True), breaker)
    storage.put(KEY, DATA, content_type="application/octet-stream", sha256=SHA256)
    with pytest.raises(ObjectRetained):
        storage.delete(KEY)
    assert breaker.failures == 0


def test_sweep_leaves_a_locked_object_alone_until_its_lock_ends(
    locked: Any, database: Database, simulated_settings: StorageSettings
) -> None:
    storage = _opened(simulated_settings, delete_versions=True)
    object_lifecycle.store(database, storage, NewObject(KEY, SHA256, len(DATA)), DATA)
    other = NewObject(bitstream_key("0" * 64), "0" * 64, 0)
    with database.write() as session:
        for key in (KEY, other.key):
            object_lifecycle.drop(session, key, shared=False)
    later = utc_now() + 2 * object_lifecycle.RESERVATION
    assert deletions.sweep(database, storage, now=later) == 1, "it holds up no other"
    with database.read() as session:
        standing = deletions.retained(session)
        assert standing.objects == 1 and standing.next_at is not None
        assert standing.next_at - utc_now() > timedelta(hours=22)
        assert session.scalars(select(PendingDeletion.key)).all() == [KEY]
    markers = _versions(locked)
    assert deletions.sweep(database, storage, now=later) == 0 and _versions(locked) == markers, "it is not asked again"
    version = locked.list_object_versions(Bucket="pictures", Prefix=NAME)["Versions"][0]["VersionId"]
    over = {"Mode": "GOVERNANCE", "RetainUntilDate": datetime.now(UTC) - timedelta(seconds=1)}
    locked.put_object_retention(
        Bucket="pictures", Key=NAME, VersionId=version, Retention=over, BypassGovernanceRetention=True
    )
    assert deletions.sweep(database, storage, now=standing.next_at + timedelta(minutes=1)) == 1
    assert _versions(locked) == (0, 0)
    with database.read() as session:
        assert deletions.retained(session) == deletions.Retained(0, None)
        assert session.scalars(select(PendingDeletion.key)).all() == []


def test_content_that_comes_back_while_a_lock_holds_it_is_the_archives_again(
    locked: Any, database: Database, simulated_settings: StorageSettings
) -> None:
    storage = _opened(simulated_settings, delete_versions=True)
    new = NewObject(KEY, SHA256, len(DATA))
    object_lifecycle.store(database, storage, new, DATA)
    with database.write() as session:
        object_lifecycle.drop(session, KEY, shared=False)
    assert deletions.sweep(database, storage, now=utc_now() + 2 * object_lifecycle.RESERVATION) == 0
    object_lifecycle.store(database, storage, new, DATA)
    with database.write() as session:
        object_lifecycle.retain(session, new)
    assert storage.get(KEY, max_bytes=100, sha256=SHA256) == DATA
    with database.read() as session:
        assert deletions.retained(session).objects == 0
