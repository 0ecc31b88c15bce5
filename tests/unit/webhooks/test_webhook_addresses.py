"""Where messages may be sent: nowhere that only the service's own network reaches, by whatever name."""

import socket
from typing import Any

import pytest

from core.settings import WebhookSettings
from core.webhooks.addresses import AddressRefused, check, parse, resolve

_NAMES = {
    "public.example": ["93.184.215.14"],
    "inside.example": ["10.0.0.1"],
    "both.example": ["93.184.215.14", "127.0.0.1"],
    "inside6.example": ["fd00::1"],
}


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver with a few names; numbers in any writing are left to the machine's own."""
    own = socket.getaddrinfo

    def _look_up(host: str, port: int, **options: Any) -> Any:
        if host.endswith(".example"):
            if host not in _NAMES:
                raise socket.gaierror(f"{host} is unknown")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in _NAMES[host]]
        return own(host, port, **options)

    monkeypatch.setattr(socket, "getaddrinfo", _look_up)


@pytest.mark.parametrize(
    "host",
    [
        "10.0.0.1", "172.16.0.1", "192.168.1.1", "127.0.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
        "224.0.0.1", "240.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.2.1", "2130706433", "0x7f.1", "127.1",
        "[::1]", "[::]", "[fe80::1]", "[fd00::1]", "[ff02::1]", "[::ffff:10.0.0.1]", "[::ffff:a00:1]",
        "[2002:a00:1::1]", "[64:ff9b::10.0.0.1]", "localhost", "localhost.", "inside.example", "INSIDE.example",
        "both.example", "inside6.example",
    ],
)  # fmt: skip
def test_private_addresses_are_refused_however_they_are_written(host: str) -> None:
    with pytest.raises(AddressRefused, match="no public address"):
        check(f"https://{host}/hook", frozenset())


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://public.example/", "needs https"),
        ("ftp://public.example/", "looks like https"),
        ("https://", "looks like https"),
        ("public.example", "looks like https"),
        ("https://user:word@public.example/", "looks like https"),
        ("https://public.example/#part", "looks like https"),
        ("https://public.example:0/", "looks like https"),
        ("https://public.example:99999/", "is none"),
        ("https://[::1/", "is none"),
        ("https://public.example/a b", "printable"),
        ("https://public.example/\r\nX-Key: 1", "printable"),
        ("https://public.example/" + "x" * 2000, "2000 characters"),
        ("https://" + "x" * 70 + ".example/", "is none"),
    ],
)
def test_addresses_of_another_kind_are_refused(url: str, reason: str) -> None:
    with pytest.raises(AddressRefused, match=reason):
        check(url, frozenset())


def test_public_addresses_are_taken_and_unknown_names_may_come_to_be() -> None:
    for url in ("https://public.example/hook?x=1", "https://8.8.8.8:8443/", "https://[2606:4700::1111]/"):
        check(url, frozenset())
    check("https://unknown.example/", frozenset())
    with pytest.raises(OSError, match="unknown"):
        resolve(parse("https://unknown.example/", frozenset()))
    endpoint = parse("https://public.example:8443/hook?x=1", frozenset())
    assert (endpoint.host, endpoint.port, endpoint.target) == ("public.example", 8443, "/hook?x=1")
    assert resolve(endpoint) == "93.184.215.14"


def test_hosts_of_the_setting_may_be_private_and_without_tls() -> None:
    hosts = WebhookSettings(private_hosts="inside.example, 127.0.0.1,[::1]").private_hosts
    for url in ("http://inside.example/", "http://127.0.0.1:9000/x", "https://[::1]/"):
        check(url, hosts)
    with pytest.raises(AddressRefused):
        check("http://10.0.0.1/", hosts)
    assert WebhookSettings(private_hosts="").private_hosts == frozenset()
