"""Clients of the vendor's library, set up so that nothing is sent twice or waits for ever behind our backs."""

from typing import TYPE_CHECKING

import boto3.session
from botocore.config import Config
from botocore.handlers import add_expect_header

from codec.loopback import is_loopback
from core.settings import StorageSettings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_POOL_CONNECTIONS = 32
"""As many as a process has threads that talk to the store; more only wait for one another."""


def new_client(
    session: boto3.session.Session,
    settings: StorageSettings,
    endpoint_url: str | None,
    read_timeout: float,
    connect_timeout: float,
    attempts: int,
) -> "S3Client":
    """A client for the store at this address, which tries a request so many times; timeouts in seconds."""
    client: S3Client = session.client(
        "s3",
        endpoint_url=endpoint_url,
        region_name=settings.region,
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key.get_secret_value() if settings.secret_key else None,
        config=Config(
            signature_version="s3v4",
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            retries={"mode": "standard", "total_max_attempts": attempts},
            max_pool_connections=_POOL_CONNECTIONS,
            tcp_keepalive=True,
            request_checksum_calculation=settings.request_checksum_calculation,
            response_checksum_validation="when_required",
            # None is the environment's; a store on this machine is reached without a proxy.
            proxies={} if endpoint_url and is_loopback(endpoint_url) else None,
            s3={
                # Stores behind an address of their own rarely have a name for every bucket.
                "addressing_style": "path" if endpoint_url else "auto",
                # The signature then covers the body's SHA-256, over TLS too: damage on the way is refused.
                "payload_signing_enabled": True,
            },
        ),
    )
    # For uploads of files the library would ask "Expect: 100-continue", and if the connection breaks within that
    # answer it reads on at its end for ever, with all of a core: the request would never be answered.
    client.meta.events.unregister("before-call.s3", add_expect_header)
    return client
