"""Health of a container, from inside it: `healthcheck.py api` or `healthcheck.py worker`. Standard library only.

An API is healthy when it answers /healthz. A worker has no port: it is healthy while it holds a connection to the
broker, without which it cannot be given work. Whether it takes that work it watches by itself, and exits if not.
"""

import os
import socket
import sys
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

_TIMEOUT_SECONDS = 4
_ESTABLISHED = "01"


def api_answers(port: int) -> bool:
    """Whether the API on this port of loopback says that it is alive."""
    # Without the proxy that the environment may name for the world outside.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"http://127.0.0.1:{port}/healthz", timeout=_TIMEOUT_SECONDS) as answer:
        return bool(answer.status == 200)


def port_of(value: str | None) -> int:
    """The API's port; Kubernetes may set the variable to an address, which the API ignores too."""
    return int(value) if value and "://" not in value else 8000


def holds_connection(url: str, tables: tuple[Path, ...] = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))) -> bool:
    """Whether any process of this container is connected to the host and port of the URL."""
    address = urlsplit(url)
    port = address.port or 6379
    hosts = {_as_kernel_writes(str(info[4][0])) for info in socket.getaddrinfo(address.hostname, port)}
    for table in tables:
        if not table.exists():
            continue
        for line in table.read_text().splitlines()[1:]:
            _, _, remote, state = line.split()[:4]
            host, _, remote_port = remote.partition(":")
            # An IPv4 address mapped into IPv6 ends with the same digits.
            if state == _ESTABLISHED and int(remote_port, 16) == port and any(host.endswith(one) for one in hosts):
                return True
    return False


def _as_kernel_writes(address: str) -> str:
    """The address in hexadecimal, as words in the byte order of the machine."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    raw = socket.inet_pton(family, address)
    words = [raw[at : at + 4] for at in range(0, len(raw), 4)]
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)


def main(kind: str) -> int:
    """Return 0 for healthy and 1 for not, with a reason on stderr."""
    try:
        if kind == "api":
            is_healthy = api_answers(port_of(os.environ.get("MISC_API_PORT")))
        else:
            is_healthy = holds_connection(os.environ["MISC_BROKER_URL"])
    except (OSError, KeyError, ValueError) as error:
        sys.stderr.write(f"{kind}: {error!r}\n")
        return 1
    if not is_healthy:
        sys.stderr.write(f"{kind}: not connected\n")
    return 0 if is_healthy else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
