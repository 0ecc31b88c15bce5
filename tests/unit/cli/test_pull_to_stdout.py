"""`misc pull ID -o -` writes one image's file to stdout, and nothing else there."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from cli.commands import pull
from cli.server.client import ClientError

Misc = Callable[..., Result]
FILE = b"MISC\x00\xff bytes that are no text"


class Server:
    """Has one image, whose stream it gives."""

    def image(self, image_id: str) -> dict[str, Any]:
        if image_id != "img_1":
            raise ClientError("not_found", "There is no image.", 404)
        return {"id": "img_1", "name": "boat.jpg", "bitstream_sha256": "0"}

    def download(self, path: str, target: Path) -> int:
        assert path == "/v1/images/img_1/bitstream"
        target.write_bytes(FILE)
        return len(FILE)


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def connected(server: str | None, key: str | None) -> Iterator[Server]:
        yield Server()

    monkeypatch.setattr(pull, "connected", connected)


def test_stream_is_all_that_stdout_gets(misc: Misc) -> None:
    result = misc("pull", "img_1", "--bitstream", "-o", "-")
    assert (result.exit_code, result.stdout_bytes) == (0, FILE), result.stderr


def test_image_that_is_not_there_is_said_on_stderr(misc: Misc) -> None:
    result = misc("pull", "img_2", "--bitstream", "-o", "-")
    assert (result.exit_code, result.stdout_bytes) == (1, b"") and "There is no image" in result.stderr


@pytest.mark.parametrize("words", [("img_1", "img_2"), ("img_1", "--json"), ("--all",)])
def test_several_files_or_a_document_have_no_place_there(misc: Misc, words: tuple[str, ...]) -> None:
    result = misc("pull", *words, "-o", "-")
    assert result.exit_code == 2 and "one image" in result.stderr and result.stdout == ""
