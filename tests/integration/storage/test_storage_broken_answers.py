"""The S3 backend before a server whose connections break in the middle of an answer."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from codec.media import MISC
from core.errors import StorageUnavailable
from core.settings import StorageBackend, StorageSettings
from core.storage.keys import bitstream_key
from core.storage.s3 import S3Storage

DATA = b"stream" * 5000
SHA256 = hashlib.sha256(DATA).hexdigest()


class _BrokenServer:
    """Has no object, and breaks off in the middle of the first line of its answer to each upload."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.endpoint_url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.uploads = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as requests:
            while line := requests.readline():
                headers = dict(
                    header.decode().lower().rstrip().split(": ", 1) for header in iter(requests.readline, b"\r\n")
                )
                if line.startswith(b"HEAD"):
                    connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                    continue
                self.uploads += 1
                if "expect" in headers:
                    connection.sendall(b"HTTP/1.1 100")
                    return
                requests.read(int(headers["content-length"]))
                connection.sendall(b"HTTP/1.1 20")
                return


@pytest.fixture
def server() -> Iterator[_BrokenServer]:
    server = _BrokenServer()
    yield server
    server.close()


@pytest.mark.parametrize("is_file", [True, False])
def test_answer_to_an_upload_that_breaks_off_is_an_error_and_no_endless_wait(
    server: _BrokenServer, tmp_path: Path, is_file: bool
) -> None:
    settings = StorageSettings(
        backend=StorageBackend.S3,
        bucket="pictures",
        endpoint_url=server.endpoint_url,
        access_key="key",
        secret_key=SecretStr("secret"),
    )
    storage = S3Storage(settings)
    path = tmp_path / "stream"
    path.write_bytes(DATA)
    errors: list[BaseException] = []

    def _put() -> None:
        try:
            storage.put(bitstream_key(SHA256), path if is_file else DATA, content_type=MISC, sha256=SHA256)
        except BaseException as error:  # noqa: BLE001 - looked at below
            errors.append(error)

    upload = threading.Thread(target=_put, daemon=True)
    upload.start()
    upload.join(timeout=60)
    assert not upload.is_alive()
    assert [type(error) for error in errors] == [StorageUnavailable]
    assert server.uploads == 3, "each of the three attempts reached the server"
