"""What `misc push` makes of names and things that are no plain files: each is told, and all others are sent."""

import io
import json
import os
import sys
import threading
from pathlib import Path

import pytest

from cli.local import streams
from cli.output import print_json, say, show
from cli.server.client import Client
from cli.server.push_history import PushHistory
from cli.server.upload import Outcome, Picture, Sender, name_of


class _Server(Client):
    """A client whose server takes everything; `names` is what it was sent."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:9")
        self.names: list[str] = []

    def submit_picture(self, upload, options):  # type: ignore[no-untyped-def]
        upload.name.encode()
        self.names.append(upload.name)
        image = {"id": "img_1", "state": "pending", "job": None, "bitstream_bytes": None, "bpp": None}
        return {"image": image, "replayed": False}


def push(path: Path, folder: Path) -> tuple[Outcome, list[str]]:
    history = PushHistory(folder / "pushed.txt")
    with _Server() as server:
        outcome = Sender(server, history).send(Picture(path, name_of(Path(path.name)), {}))
    return outcome, server.names


def test_pipe_is_told_at_once_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.jpg")
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(push(tmp_path / "x.jpg", tmp_path)[0]), daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert outcomes[0].error is not None
    assert outcomes[0].error["code"] == "file_unusable"
    assert "pipe" in outcomes[0].error["message"]


def test_folder_that_is_called_like_a_picture_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").mkdir()
    outcome, names = push(tmp_path / "x.jpg", tmp_path)
    assert outcome.error is not None and "a folder" in outcome.error["message"]
    assert names == []


def test_name_that_is_not_utf8_is_sent_as_far_as_it_is_text(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg"))
    path.write_bytes(b"picture")
    outcome, names = push(path, tmp_path)
    assert outcome.error is None
    assert names == ["caf\ufffd.jpg"]
    assert name_of(Path("ä.jpg")) == "ä.jpg"


def test_unforeseen_failure_is_that_of_one_input(tmp_path: Path) -> None:
    outcome = Outcome(tmp_path)

    def fail() -> None:
        raise ValueError("odd")

    outcome.attempt(fail)
    assert outcome.error is not None and outcome.error["code"] == "internal_error"


def test_history_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    history = PushHistory(tmp_path / "file" / "pushed.txt")
    history.remember("http://x", "key", "img_1")
    assert history.find("http://x", "key") == "img_1"


def test_pipe_into_which_nobody_writes_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_WRITER_SECONDS", 0.1)
    os.mkfifo(tmp_path / "x.jpg")
    with pytest.raises(OSError, match="nobody wrote"):
        streams.read_input(tmp_path / "x.jpg")
    writer = threading.Thread(target=lambda: (tmp_path / "x.jpg").write_bytes(b"picture" * 20_000), daemon=True)
    monkeypatch.setattr(streams, "_WRITER_SECONDS", 10)
    writer.start()
    assert streams.read_input(tmp_path / "x.jpg") == b"picture" * 20_000
    writer.join()


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_results_with_any_name_are_printed_on_any_terminal(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    document = {"results": [{"input": os.fsdecode(b"caf\xe9.jpg")}, {"input": "ä 鳥.jpg"}]}
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding, write_through=True)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        patch.setattr(sys, "stderr", stream)
        print_json(document)
        size = len(raw.getvalue())
        for result in document["results"]:
            show(result["input"])
            say(result["input"])
    assert json.loads(raw.getvalue()[:size].decode(encoding)) == document
    assert len(raw.getvalue()[size:].splitlines()) == 4
