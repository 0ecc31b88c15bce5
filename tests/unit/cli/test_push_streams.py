"""`misc push` of `.misc` files: taken in as they are, each with the picture that it names."""

import hashlib
import json
from collections.abc import Callable
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from cli.commands import push
from cli.server import client
from codec.bitstream import ExternalCoarse, PixelCoarse, Stream, Texts
from codec.bitstream.container import pack
from tests.unit.cli.conftest import write_photo

Misc = Callable[..., Result]
SERVER = ("--server", "http://127.0.0.1:9", "--json")


class _Archive:
    """What was sent, in place of a server: names of pictures, and each stream's name with its reference's bytes and its
    metadata."""

    def __init__(self) -> None:
        self.pictures: list[tuple[str, dict]] = []
        self.streams: dict[str, bytes | None] = {}
        self.metadata: dict[str, dict | None] = {}

    def submit_picture(self, _client: object, upload: client.Upload, options: dict[str, Any]) -> dict[str, Any]:
        self.pictures.append((upload.name, dict(options)))
        return {"image": self._image("pending"), "replayed": False}

    def import_bitstream(
        self, _client: object, upload: client.Upload, reference: Path | None, metadata: dict | None
    ) -> dict[str, Any]:
        self.metadata[upload.name] = metadata
        is_new = upload.name not in self.streams
        self.streams[upload.name] = None if reference is None else reference.read_bytes()
        return {"image": self._image("ready"), "is_new": is_new}

    def _image(self, state: str) -> dict[str, Any]:
        return {"id": "img_1", "state": state, "job": None, "bitstream_bytes": 9, "bpp": 0.1, "notes": []}


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> _Archive:
    archive = _Archive()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("submit_picture", "import_bitstream"):
        monkeypatch.setattr(client.Client, name, partialmethod(_pass_on, getattr(archive, name)))
    return archive


def _pass_on(sender: object, act: Callable[..., dict[str, Any]], *given: object) -> dict[str, Any]:
    return act(sender, *given)


def write_stream(path: Path, reference: bytes | None = None) -> None:
    coarse = PixelCoarse(4, 3, 3, bytes(range(12)) * 3)
    if reference is not None:
        coarse = ExternalCoarse(hashlib.sha256(reference).digest()[:16], 300)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pack(Stream(40, 30, coarse, Texts((), "A cat."))).data)


def test_folder_of_streams_is_sent_with_the_pictures_that_external_ones_name(
    misc: Misc, archive: _Archive, tmp_path: Path
) -> None:
    folder = tmp_path / "archive"
    write_stream(folder / "a.misc")
    write_stream(folder / "b.misc", reference=b"the picture")
    (folder / "b.ref.png").write_bytes(b"the picture")
    (folder / "b.ref.jpg").write_bytes(b"another picture")
    write_stream(folder / "c.misc", reference=b"lost")
    (folder / "d.misc").write_bytes(b"no stream")
    result = misc("push", folder, *SERVER, "--no-wait")
    assert result.exit_code == 0, result.stderr
    assert archive.streams == {"a.misc": None, "b.misc": b"the picture", "c.misc": None, "d.misc": None}
    assert archive.pictures == []
    entries = json.loads(result.stdout)["results"]
    assert [(entry["state"], entry["skipped"]) for entry in entries] == [("ready", False)] * 4
    again = json.loads(misc("push", folder / "a.misc", *SERVER).stdout)["results"]
    assert [entry["skipped"] for entry in again] == [True]


def test_picture_is_sent_once_though_its_stream_lies_beside_it(misc: Misc, archive: _Archive, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_photo(folder / "a.png")
    write_stream(folder / "a.misc")
    write_stream(folder / "b.misc")
    taken, left_out = push._pictures(push._Source([folder]), {}, tmp_path)
    assert [one.name for one in taken] == ["a.png", "b.misc"]
    assert "1 .misc files left out" in " ".join(left_out)
    result = misc("push", folder / "a.misc", folder / "a.png", *SERVER, "--no-wait", "--blocks", "8", "--mode", "pixel")
    assert result.exit_code == 0, result.stderr
    assert list(archive.streams) == ["a.misc"] and archive.pictures == [("a.png", {"mode": "pixel", "blocks": 8})]


def test_options_and_groups_that_mean_nothing_to_streams_are_refused(
    misc: Misc, archive: _Archive, tmp_path: Path
) -> None:
    write_stream(tmp_path / "a.misc")
    for words, named in ((("--blocks", "8"), "--blocks"), (("--batch", "holiday"), "batch")):
        result = misc("push", tmp_path / "a.misc", *words, *SERVER)
        assert result.exit_code == 2 and named in result.stderr
    assert archive.streams == {}


def test_metadata_beside_a_stream_go_along_where_asked_and_only_there(
    misc: Misc, archive: _Archive, tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        write_stream(tmp_path / "streams" / f"{name}.misc")
    kept = {"file": "a.jpg", "modified_at": None, "taken_at": "2026-05-03T10:20:30", "latitude": 48.1}
    (tmp_path / "streams" / "a.meta.json").write_text(json.dumps(kept))
    (tmp_path / "streams" / "c.meta.json").write_text("[]")

    assert misc("push", tmp_path / "streams", *SERVER).exit_code == 0
    assert archive.metadata == dict.fromkeys(("a.misc", "b.misc", "c.misc"))

    result = misc("push", tmp_path / "streams", "--keep-metadata", *SERVER)
    assert (archive.metadata["a.misc"], archive.metadata["b.misc"]) == (kept, None)
    wrong = {Path(entry["input"]).name: entry["error"] for entry in json.loads(result.stdout)["results"]}
    assert result.exit_code == 1 and "c.meta.json is no file of metadata" in wrong["c.misc"]["message"]
