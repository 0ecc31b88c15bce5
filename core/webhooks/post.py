"""One POST to an address of a caller: to the very IP address that was checked, by no proxy, following no redirect."""

import http.client
import socket
import ssl
import threading
from collections.abc import Mapping

from core.webhooks.addresses import Endpoint, resolve

_STEP_SECONDS = 10.0
"""For each of connecting, sending and receiving."""

_WHOLE_SECONDS = 20.0
"""A receiver that answers a byte at a time ends with this."""


def post(endpoint: Endpoint, body: str, headers: Mapping[str, str]) -> int:
    """The status of the answer, whose body is not read.

    Raises AddressRefused after the look-up, and OSError or HTTPException for whatever else went wrong.
    """
    connection = _Connection(endpoint, resolve(endpoint))
    deadline = threading.Timer(_WHOLE_SECONDS, connection.cut)
    deadline.daemon = True
    deadline.start()
    try:
        connection.request("POST", endpoint.target, body.encode(), dict(headers))
        return connection.getresponse().status
    finally:
        deadline.cancel()
        connection.close()


class _Connection(http.client.HTTPConnection):
    """Connects to an IP address in the name of a host."""

    def __init__(self, endpoint: Endpoint, address: str) -> None:
        super().__init__(endpoint.host, endpoint.port, timeout=_STEP_SECONDS)
        self._endpoint, self._address = endpoint, address
        # Leaves the port out of the Host header where it is the scheme's own.
        self.default_port = 443 if endpoint.is_tls else 80

    def connect(self) -> None:
        """Connect, and check the certificate against the name."""
        self.sock = socket.create_connection((self._address, self._endpoint.port), _STEP_SECONDS)
        if self._endpoint.is_tls:
            context = ssl.create_default_context()
            self.sock = context.wrap_socket(self.sock, server_hostname=self._endpoint.host)

    def cut(self) -> None:
        """End whatever is waited for."""
        if self.sock is not None:
            try:
                self.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it has ended by itself
