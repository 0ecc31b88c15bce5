"""Which addresses messages may be sent to: none that only this service's own network reaches.

An address is looked at when it is registered, and again after each look-up of its name, whose answer is what is
connected to: a name that means something else a moment later leads nowhere.
"""

import ipaddress
import socket
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from core.errors import Fault, ServiceError
from models.webhook import URL_LENGTH

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""Translated to the IPv4 address in its last 32 bits."""

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressRefused(ServiceError):
    """Webhooks may not be sent there."""

    code = "webhook_address_refused"
    fault = Fault.JOB


@dataclass(frozen=True)
class Endpoint:
    """The parts of an address; `target` is the path with its query."""

    host: str
    port: int
    target: str
    is_tls: bool
    is_private_allowed: bool


def parse(url: str, private_hosts: Collection[str]) -> Endpoint:
    """The parts of an address; raises AddressRefused for one of another kind than https://host/path."""
    if len(url) > URL_LENGTH or not url.isprintable() or " " in url:
        raise AddressRefused(f"A webhook's address has at most {URL_LENGTH} characters, all of them printable.")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
        host.encode("idna")
    except ValueError as error:
        raise AddressRefused(f"The webhook's address is none: {error}.") from None
    is_allowed = host.lower() in private_hosts
    if parts.scheme not in ("https", "http") or not host or parts.username is not None or parts.fragment or port == 0:
        raise AddressRefused("A webhook's address looks like https://host/path, without user, password and fragment.")
    if parts.scheme == "http" and not is_allowed:
        raise AddressRefused(f"A webhook's address needs https; {host} is none of MISC_WEBHOOK_PRIVATE_HOSTS.")
    is_tls = parts.scheme == "https"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Endpoint(host, port or (443 if is_tls else 80), target, is_tls, is_allowed)


def check(url: str, private_hosts: Collection[str]) -> None:
    """Raise AddressRefused for an address that messages may not be sent to, as far as that can be told now: a name that
    nothing is found under may be found later."""
    endpoint = parse(url, private_hosts)
    try:
        resolve(endpoint)
    except OSError:
        return


def resolve(endpoint: Endpoint) -> str:
    """The IP address to connect to; raises AddressRefused where one of the name's is private, OSError without any."""
    found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    if not endpoint.is_private_allowed:
        for address in addresses:
            if not is_public(ipaddress.ip_address(address.partition("%")[0])):
                raise AddressRefused(
                    f"{endpoint.host} is at {address}, which is no public address, and none of "
                    "MISC_WEBHOOK_PRIVATE_HOSTS."
                )
    return addresses[0]


def is_public(address: IPAddress) -> bool:
    """Whether anybody reaches this address; of one that stands for another one, whether that holds for it."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)
