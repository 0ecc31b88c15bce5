"""The same storage tests on a folder and on an S3 store that is simulated in this process."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import boto3.session
import pytest
from moto import mock_aws
from pydantic import SecretStr

from core.settings import MirrorPolicy, MirrorSettings, StorageBackend, StorageSettings
from core.storage import Storage, open_storage
from core.storage.mirrored import open_copies
from core.storage.s3 import S3Storage


@pytest.fixture(scope="module", autouse=True)
def _one_sdk_session() -> Iterator[None]:
    """The SDK reads its description of S3 anew for every session, which takes longer than the tests do."""
    shared = boto3.session.Session()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boto3.session, "Session", lambda: shared)
        yield


@pytest.fixture(scope="session")
def simulated_settings() -> StorageSettings:
    """Settings of a store that is simulated, or never reached."""
    return StorageSettings(
        backend=StorageBackend.S3,
        bucket="pictures",
        prefix="archive/one",
        access_key="key",
        secret_key=SecretStr("secret"),
    )


@pytest.fixture
def simulated_s3(simulated_settings: StorageSettings) -> Iterator[S3Storage]:
    """A store with three keys to a page, so that short lists have several."""
    with mock_aws():
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="pictures")
        storage = S3Storage(simulated_settings, page_size=3)
        yield storage
        storage.close()


@pytest.fixture(params=["local", "s3", "mirrored"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """Each backend in turn."""
    if request.param == "s3":
        yield request.getfixturevalue("simulated_s3")
        return
    if request.param == "mirrored":
        settings = MirrorSettings(policy=MirrorPolicy.AT_ONCE, path=tmp_path / "mirror")
        copies = open_copies(StorageSettings(path=tmp_path / "objects"), settings)
        yield copies.as_one()
        return
    local = open_storage(StorageSettings(path=tmp_path / "objects"))
    yield local
    local.close()
