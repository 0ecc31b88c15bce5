"""Redis behind TLS with a password, and a Redis that answers PING but refuses what jobs write."""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from core.broker import ENCODE, Broker, connect_redis, make_celery
from core.errors import BrokerUnavailable
from core.events import EventLog, EventReader
from core.settings import BrokerSettings

PASSWORD = "p@ss/w#rd"


class TLSProxy:
    """Takes TLS on 127.0.0.1 and hands what is in it to a socket; `received` is every byte that callers sent."""

    def __init__(self, folder: Path, behind: str) -> None:
        self.certificate = folder / "certificate.pem"
        self.received = bytearray()
        self._behind = behind
        _write_certificate(folder)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificate, folder / "key.pem")
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def url(self, host: str = "127.0.0.1", **options: str) -> str:
        """The broker's URL, with the password and these options."""
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"rediss://:p%40ss%2Fw%23rd@{host}:{self.port}/0?{query}"

    def close(self) -> None:
        """Take no more callers."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            self._context.wrap_socket(plain, server_side=True) as caller,
            socket.socket(socket.AF_UNIX) as server,
        ):
            server.connect(self._behind)
            back = threading.Thread(target=_copy, args=(server, caller, bytearray()), daemon=True)
            back.start()
            _copy(caller, server, self.received)
            server.shutdown(socket.SHUT_RDWR)
            back.join(5)


def _copy(source: socket.socket, target: socket.socket, seen: bytearray) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(64 * 1024):
            seen += data
            target.sendall(data)


def _write_certificate(folder: Path) -> None:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


@pytest.fixture
def proxy(broker_settings: BrokerSettings, tmp_path: Path) -> Iterator[TLSProxy]:
    """TLS before a Redis that wants a password."""
    plain = connect_redis(broker_settings)
    plain.config_set("requirepass", PASSWORD)
    running = TLSProxy(tmp_path, str(broker_settings.address.socket_path))
    yield running
    running.close()


@pytest.mark.parametrize("scheme", ["rediss", "valkeys"])
def test_two_hundred_notifications_pass_through_tls_with_a_password(proxy: TLSProxy, scheme: str) -> None:
    url = proxy.url(ssl_ca_certs=str(proxy.certificate)).replace("rediss", scheme, 1)
    settings = BrokerSettings(url=url)
    broker = Broker(settings)
    broker.check()
    for number in range(200):
        broker.notify([f"job_{number}"], ENCODE)
    assert broker.waiting(ENCODE) == 200
    with make_celery(settings).connection_for_read() as connection:
        queue = connection.SimpleQueue(ENCODE)
        found = set()
        for _ in range(200):
            message = queue.get(timeout=10)
            found.add(message.payload[0][0])
            message.ack()
        queue.close()
    assert found == {f"job_{number}" for number in range(200)}
    broker.close()


def test_events_are_written_and_read_through_tls(proxy: TLSProxy) -> None:
    settings = BrokerSettings(url=proxy.url(ssl_ca_certs=str(proxy.certificate)))
    log = EventLog(settings)
    log.publish("job_1", "state", {"state": "running"})
    log.close()

    async def read() -> list[str]:
        reader = EventReader(settings)
        names = [event.name async for event in reader.follow("job_1", "0", 0.5)]
        await reader.close()
        return names

    assert asyncio.run(read()) == ["state"]


@pytest.mark.parametrize("trusts", ["nobody", "another host"])
def test_server_that_cannot_prove_who_it_is_gets_no_password(proxy: TLSProxy, trusts: str) -> None:
    url = proxy.url() if trusts == "nobody" else proxy.url("localhost", ssl_ca_certs=str(proxy.certificate))
    settings = BrokerSettings(url=url)
    broker = Broker(settings)
    with pytest.raises(BrokerUnavailable, match=r"(?i)certificate"):
        broker.check()
    with pytest.raises(BrokerUnavailable):
        broker.notify(["job_1"], ENCODE)
    with make_celery(settings).connection_for_read() as connection, pytest.raises(Exception, match=r"(?i)certificate"):
        connection.ensure_connection(max_retries=1, interval_start=0.0)
    assert bytes(proxy.received) == b""
    broker.close()


def test_verifying_is_switched_off_by_the_url_alone(proxy: TLSProxy) -> None:
    broker = Broker(BrokerSettings(url=proxy.url(ssl_cert_reqs="none")))
    broker.check()
    broker.notify(["job_1"], ENCODE)
    assert broker.waiting(ENCODE) == 1
    broker.close()


def _replica(server: redis.Redis) -> None:
    server.replicaof("127.0.0.1", "1")


def _full(server: redis.Redis) -> None:
    server.config_set("maxmemory", 1)


def _without_replicas(server: redis.Redis) -> None:
    server.config_set("min-replicas-to-write", 1)


@pytest.mark.parametrize("spoil", [_replica, _full, _without_replicas])
def test_redis_that_answers_ping_but_refuses_writes_is_not_ready(
    broker_settings: BrokerSettings, broker: Broker, spoil: object
) -> None:
    broker.check()
    server = connect_redis(broker_settings)
    spoil(server)  # type: ignore[operator]
    assert server.ping()
    with pytest.raises(BrokerUnavailable, match="does not take what jobs write"):
        broker.check()


@pytest.mark.parametrize(
    "rights", ["~* +@read +ping", "~* +@all -@stream", "~misc:* +@all", "~* +@all -multi -exec"], ids=str
)
def test_user_without_the_rights_that_jobs_need_is_not_ready(broker_settings: BrokerSettings, rights: str) -> None:
    server = connect_redis(broker_settings)
    server.execute_command("ACL", "SETUSER", "few", "on", ">few", *rights.split(" "))
    url = broker_settings.url.replace("redis+socket://", "redis+socket://few:few@")
    broker = Broker(BrokerSettings(url=url))
    with pytest.raises(BrokerUnavailable, match="does not take what jobs write"):
        broker.check()
    broker.close()


def test_check_leaves_nothing_and_changes_nothing(broker_settings: BrokerSettings, broker: Broker) -> None:
    broker.notify(["job_1"], ENCODE)
    server = connect_redis(broker_settings)
    before = {key: server.dump(key) for key in server.scan_iter()}
    broker.check()
    assert {key: server.dump(key) for key in server.scan_iter()} == before
