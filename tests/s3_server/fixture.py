"""The S3 server as pytest fixtures: `s3_server`, `s3_bucket`, `s3_settings`, and `own_s3_server` to break at will.

Where it cannot be installed, tests that ask for it are skipped; with CI=true they fail.
"""

import itertools
import os
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from pydantic import SecretStr

from core.settings import StorageBackend, StorageSettings
from tests.s3_server.install import InstallFailed
from tests.s3_server.process import S3Server

_numbers = itertools.count(1)


def new_client(server: S3Server, **credentials: str) -> Any:
    """A plain client, for what the service itself does not do, such as creating buckets."""
    return boto3.session.Session().client(
        "s3",
        endpoint_url=server.endpoint_url,
        region_name=server.region,
        aws_access_key_id=credentials.get("access_key", server.access_key),
        aws_secret_access_key=credentials.get("secret_key", server.secret_key),
        config=Config(request_checksum_calculation="when_required", s3={"addressing_style": "path"}),
    )


def settings_for(server: S3Server, bucket: str, /, **changes: Any) -> StorageSettings:
    """The settings under which the service uses this bucket."""
    values: dict[str, Any] = {
        "backend": StorageBackend.S3,
        "bucket": bucket,
        "endpoint_url": server.endpoint_url,
        "region": server.region,
        "access_key": server.access_key,
        "secret_key": SecretStr(server.secret_key),
    }
    return StorageSettings(**(values | changes))


def new_bucket(server: S3Server) -> str:
    """Create an empty bucket and return its name."""
    name = f"misc-test-{os.getpid()}-{next(_numbers)}"
    new_client(server).create_bucket(Bucket=name)
    return name


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """One server for all tests of this process; leave it running as it is."""
    server = _start()
    yield server
    server.close()


@pytest.fixture
def own_s3_server() -> Iterator[S3Server]:
    """A server for this test alone, to be killed or made to hang. Takes about two seconds."""
    server = _start()
    yield server
    server.close()


@pytest.fixture
def s3_bucket(s3_server: S3Server) -> str:
    """A new bucket on the common server."""
    return new_bucket(s3_server)


@pytest.fixture
def s3_settings(s3_server: S3Server, s3_bucket: str) -> StorageSettings:
    """Settings of the service for a new bucket on the common server."""
    return settings_for(s3_server, s3_bucket)


def _start() -> S3Server:
    try:
        return S3Server()
    except InstallFailed as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"the S3 server has to be there in CI: {error}")
        pytest.skip(f"no S3 server: {error}")
