"""Whether an address is on this machine. The environment's HTTP_PROXY and ALL_PROXY are for the world outside: a proxy
elsewhere would look for our own servers on its own machine, and be shown what never was to leave this one.
"""

import ipaddress
from urllib.parse import urlsplit

LOOPBACK_HOSTS = ("all://localhost", "all://127.0.0.1", "all://[::1]")
"""The usual names of this machine as httpx writes patterns, for a client that talks to others too."""


def is_loopback(address: str) -> bool:
    """True for an http address whose host is this machine; nothing is looked up."""
    try:
        host = urlsplit(address).hostname or ""
    except ValueError:
        return False
    host = host.rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = number.ipv4_mapped if isinstance(number, ipaddress.IPv6Address) else None
    number = mapped or number
    return number.is_loopback or number.is_unspecified
