"""One reading of the broker's URL for Celery's client and for ours, and a sentence for what is not understood."""

import ssl
from pathlib import Path

import pytest
import redis
from redis.connection import SSLConnection

from core.broker import connect_redis, make_celery
from core.errors import SettingsInvalid
from core.redis_url import RedisURL, socket_url
from core.settings import BrokerSettings, load


def both(url: str) -> list[dict[str, object]]:
    """What Celery's client and ours would connect with."""
    settings = BrokerSettings(url=url)
    ours = connect_redis(settings).connection_pool.connection_kwargs
    with make_celery(settings).connection_for_write() as connection:
        # Making a channel would connect; its parameters are made without.
        from kombu.transport.redis import Channel

        channel = Channel.__new__(Channel)
        channel.connection = connection.transport
        theirs = channel._connparams()
    return [ours, theirs]


@pytest.mark.parametrize("scheme", ["rediss", "valkeys"])
def test_certificates_are_verified_by_both_clients_unless_the_url_says_no(scheme: str) -> None:
    pool = connect_redis(BrokerSettings(url=f"{scheme}://:pass@broker:6380/1")).connection_pool
    assert pool.connection_class is SSLConnection
    for client in both(f"{scheme}://:pass@broker:6380/1"):
        connection = SSLConnection(
            **{name: value for name, value in client.items() if name.startswith("ssl_")}  # type: ignore[arg-type]
        )
        assert (connection.cert_reqs, connection.check_hostname) == (ssl.CERT_REQUIRED, True)
        assert (client["host"], client["port"], client["db"], client["password"]) == ("broker", 6380, 1, "pass")
    for client in both(f"{scheme}://broker?ssl_cert_reqs=none"):
        connection = SSLConnection(
            **{name: value for name, value in client.items() if name.startswith("ssl_")}  # type: ignore[arg-type]
        )
        assert connection.cert_reqs == ssl.CERT_NONE


@pytest.mark.parametrize("url", ["redis://u:p%40%3B%2F%23@[::1]:7/2", "valkey://u:p%40%3B%2F%23@[::1]:7?db=2"])
def test_names_and_passwords_are_unescaped_by_both_clients(url: str) -> None:
    for client in both(url):
        found = [client[name] for name in ("host", "port", "db", "username", "password")]
        assert found == ["::1", 7, 2, "u", "p@;/#"]


def test_socket_with_odd_characters_in_its_path_is_found_by_both_clients() -> None:
    path = Path("/run/a b?c#d%41/redis.sock")
    for client in both(socket_url(path)):
        assert client["path"] == str(path)
    assert RedisURL.parse("unix:///x.sock?db=3") == RedisURL.parse("redis+socket:///x.sock?virtual_host=3")


def test_environment_of_other_celery_programs_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://elsewhere:1/0")
    with make_celery(BrokerSettings(url="redis://here:2/0")).connection_for_read() as connection:
        assert (connection.hostname, connection.port) == ("here", 2)


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("amqp://host", "rediss://"),
        ("sentinel://host:26379", "rediss://"),
        ("redis://a:1;redis://b:2", "several"),
        ("redis://a,b", "several"),
        ("redis://:pa#ss@host:6379", "%23"),
        ("redis://host:port", "%23"),
        ("redis://host/name", "number"),
        ("redis://host/1?db=2", "number"),
        ("redis://host?max_connections=3", "max_connections"),
        ("redis://host?retry_on_error=x", "retry_on_error"),
        ("rediss://host?ssl_cert_reqs=maybe", "ssl_cert_reqs"),
        ("rediss://host?ssl_check_hostname=maybe", "ssl_check_hostname"),
        ("rediss://host?ssl_ca_certs=/no/such/file", "/no/such/file"),
        ("redis://host?ssl_cert_reqs=none", "rediss://"),
        ("redis+socket://run/redis.sock", "three slashes"),
        ("redis+socket:///run/redis.sock?timeout=3", "timeout"),
    ],
)
def test_what_is_not_understood_is_refused_in_a_sentence_without_the_password(
    monkeypatch: pytest.MonkeyPatch, url: str, word: str
) -> None:
    monkeypatch.setenv("MISC_BROKER_URL", url.replace("host", "user:secret@host", 1) if "@" not in url else url)
    with pytest.raises(SettingsInvalid) as caught:
        load(BrokerSettings)
    assert str(caught.value).startswith("MISC_BROKER_URL: ")
    assert word in str(caught.value)
    assert "secret" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_setting_that_is_empty_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISC_BROKER_URL", "")
    assert load(BrokerSettings).address == RedisURL.parse("redis://localhost:6379/0")
    assert "secret" not in repr(BrokerSettings(url="redis://:secret@host"))
    assert isinstance(connect_redis(load(BrokerSettings)), redis.Redis)
