"""`misc weights`: what it prints, what it keeps, and how it ends."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import Result

from cli.doctor.check import Check
from cli.doctor.machine import _weights
from codec.weights import pull, store, trial
from codec.weights.content import check_content
from codec.weights.manifest import HubSource, Licence, Part, Released
from codec.weights.released import RELEASED
from codec.weights.shipped import FOLDER, shipped_records

_HEADER = b'{"w":{"dtype":"U8","shape":[160000],"data_offsets":[0,160000]}}'
CONTENT = len(_HEADER).to_bytes(8, "little") + _HEADER + b"weights " * 20_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()

Misc = Callable[..., Result]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HF_ENDPOINT", "MISC_WEIGHTS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MISC_WEIGHTS_PATH", str(tmp_path / "weights"))
    # The tests of this ring start no processes; tests/networks/nets/test_trial.py does.
    monkeypatch.setattr(trial, "try_weights", check_content)
    return tmp_path / "weights"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "mine.pth.tar"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A hub that has one file, and a list of published weights with two that should be there."""

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_there = self.path == "/some/repo/resolve/main/net.ckpt"
            self.send_response(200 if is_there else 404)
            self.send_header("Content-Length", str(len(CONTENT) if is_there else 0))
            self.end_headers()
            self.wfile.write(CONTENT if is_there else b"")

        def log_message(self, *_: object) -> None:
            pass

    entries = tuple(
        Released(
            name=name, part=Part.COARSE, architecture="cheng2020-attn", file_name=file,
            licence=Licence("MIT", "https://example.org"), sources=(HubSource("some/repo", file),), sha256=digest,
        )
        for name, file, digest in (("net", "net.ckpt", DIGEST), ("gone", "gone.ckpt", "0" * 64), ("new", "n", None))
    )  # fmt: skip
    monkeypatch.setattr(store.WeightsStore.__init__, "__defaults__", (entries, FOLDER))
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_list_names_all_that_is_published_and_creates_nothing(misc: Misc, folder: Path) -> None:
    result = misc("weights", "list", "--json")

    document = json.loads(result.stdout)
    assert result.exit_code == 0
    assert document["path"] == str(folder)
    states = {entry["name"]: entry["state"] for entry in document["weights"]}
    assert set(states) == {entry.name for entry in RELEASED} | set(shipped_records())
    assert {states[name] for name in shipped_records()} <= {"present", "unchecked"}
    assert (states["clip-vit-b16"], states["cheng2020-tuned"]) == ("missing", "not pinned")
    assert document["weights"][0]["sources"] and document["weights"][0]["licence"]["link"]
    assert not folder.exists()


def test_what_comes_with_the_program_is_listed_with_its_place_and_licence(misc: Misc, folder: Path) -> None:
    listed = {entry["name"]: entry for entry in json.loads(misc("weights", "list", "--json").stdout)["weights"]}

    for record in shipped_records().values():
        entry = listed[record.name]
        # What describes pictures serves every profile.
        profiles = [] if record.name == "tagger" else ["lite"]
        assert (entry["sha256"], entry["profiles"], entry["published"]) == (record.sha256, profiles, False)
        assert Path(entry["file"]).is_file() and not Path(entry["file"]).is_relative_to(folder)
        assert entry["licence"]["id"] == record.licence.identifier
        assert record.licence.identifier == ("BSD-3-Clause" if record.name == "lite-stage1" else "Apache-2.0")


def test_table_has_a_line_for_each(misc: Misc, checkpoint: Path) -> None:
    misc("weights", "add", checkpoint, "--name", "mine", "--part", "coarse", "--architecture", "mbt2018")

    lines = misc("weights", "list").stdout.splitlines()

    assert lines[0].split() == ["NAME", "PART", "PROFILE", "SIZE", "STATE", "SHA-256", "LICENCE"]
    assert ["mine", "coarse", "0.2", "MB", "present", DIGEST[:8]] in [line.split() for line in lines]


def test_added_file_is_listed_with_all_that_was_said(misc: Misc, checkpoint: Path, folder: Path) -> None:
    result = misc(
        "weights", "add", checkpoint, "--name", "mine", "--part", "coarse", "--architecture", "mbt2018-mean",
        "--profile", "sd21", "--rate", "1", "--licence", "MIT", "--licence-link", "https://example.org", "--json",
    )  # fmt: skip

    document = json.loads(result.stdout)
    assert document | {"file": None} == {
        "name": "mine", "state": "present", "part": "coarse", "architecture": "mbt2018-mean", "profiles": ["sd21"],
        "rate": 1, "bytes": len(CONTENT), "sha256": DIGEST, "sha256_prefix": None, "file": None,
        "origin": str(checkpoint), "licence": {"id": "MIT", "link": "https://example.org"}, "published": False,
        "binding": True, "alternative": False, "sources": [],
    }  # fmt: skip
    assert Path(document["file"]).read_bytes() == CONTENT
    assert Path(document["file"]).is_relative_to(folder)


def test_link_leaves_the_file_where_it_is(misc: Misc, checkpoint: Path) -> None:
    words = ["--name", "mine", "--part", "clip", "--architecture", "clip-vit-b16", "--link", "--json"]

    document = json.loads(misc("weights", "add", checkpoint, *words).stdout)

    assert Path(document["file"]).resolve() == checkpoint


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["--name", "mine"], 2),
        (["--name", "Mine", "--part", "coarse", "--architecture", "x"], 2),
        (["--name", "mine", "--part", "engine", "--architecture", "x"], 2),
        (["--name", "clip-vit-b16"], 1),
    ],
)
def test_add_that_cannot_be_is_refused(misc: Misc, checkpoint: Path, words: list[str], status: int) -> None:
    result = misc("weights", "add", checkpoint, *words)

    assert (result.exit_code, result.stdout) == (status, "")
    assert result.stderr


def test_add_of_a_file_that_is_not_there(misc: Misc) -> None:
    result = misc("weights", "add", "nowhere.pth", "--name", "a", "--part", "coarse", "--architecture", "b")

    assert result.exit_code == 1
    assert "nowhere.pth" in result.stderr


def test_pull_fetches_from_the_hub_that_hf_endpoint_names(misc: Misc, hub: str) -> None:
    result = misc("weights", "pull", "net", "--json")

    (pulled,) = json.loads(result.stdout)["results"]
    assert result.exit_code == 0
    assert (pulled["sha256"], pulled["source"]) == (DIGEST, f"{hub}/some/repo/resolve/main/net.ckpt")
    assert Path(pulled["file"]).read_bytes() == CONTENT
    assert json.loads(misc("weights", "pull", "net", "--json").stdout)["results"][0]["was_here"] is True


def test_pull_goes_on_after_one_that_fails_and_names_it(misc: Misc, hub: str) -> None:
    result = misc("weights", "pull", "gone", "new", "net", "--json")

    results = {entry["name"]: entry["error"] for entry in json.loads(result.stdout)["results"]}
    assert result.exit_code == 1
    assert results["net"] is None
    assert (results["gone"]["code"], results["new"]["code"]) == ("weights_missing", "weights_invalid")
    assert "404" in results["gone"]["message"] and "--trust" in results["new"]["message"]


def test_pull_from_a_folder_works_offline(
    misc: Misc, hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISC_WEIGHTS_OFFLINE", "1")
    (tmp_path / "net.ckpt").write_bytes(CONTENT)

    assert misc("weights", "pull", "net").exit_code == 1
    result = misc("weights", "pull", "net", "--from", tmp_path)

    assert result.exit_code == 0
    assert result.stdout == f"net: fetched, SHA-256 {DIGEST}\n"


@pytest.mark.parametrize("words", [["nonsense"], ["net", "--from", "ftp://example.org"], []])
def test_pull_of_what_is_not_published_is_wrong_usage(misc: Misc, hub: str, words: list[str]) -> None:
    assert misc("weights", "pull", *words).exit_code == 2


def test_profile_that_ships_with_the_project_needs_nothing(misc: Misc) -> None:
    result = misc("weights", "pull", "lite")

    assert result.exit_code == 0
    assert "needs no weights" in result.stderr


@pytest.mark.parametrize("name", sorted(shipped_records()))
def test_pull_of_what_comes_with_the_program_says_so_and_fetches_nothing(misc: Misc, folder: Path, name: str) -> None:
    result = misc("weights", "pull", name, "--json")

    assert (result.exit_code, json.loads(result.stdout)) == (0, {"results": []})
    assert f"{name} comes with the program" in result.stderr
    assert not folder.exists()


def test_verify_names_what_is_damaged(misc: Misc, checkpoint: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    other.write_bytes(CONTENT[:-1] + b"!")
    for file, name in ((checkpoint, "good"), (other, "bad")):
        misc("weights", "add", file, "--name", name, "--part", "coarse", "--architecture", "mbt2018")
    assert misc("weights", "verify").exit_code == 0
    entries = {entry["name"]: entry for entry in json.loads(misc("weights", "list", "--json").stdout)["weights"]}
    Path(entries["bad"]["file"]).write_bytes(b"OTHER")

    result = misc("weights", "verify", "--json")

    document = json.loads(result.stdout)
    assert (result.exit_code, document["ok"]) == (1, False)
    assert [(one["name"], one["error"] and one["error"]["code"]) for one in document["results"]] == [
        ("bad", "weights_corrupt"),
        ("good", None),
        *((name, None) for name in shipped_records()),
    ]
    assert "bad is corrupt" in result.stderr
    assert misc("weights", "verify", "good").exit_code == 0
    assert misc("weights", "verify", "nothing").exit_code == 2
    assert misc("weights", "verify", "clip-vit-b16").exit_code == 1


def test_doctor_tells_damaged_weights(misc: Misc, checkpoint: Path, tmp_path: Path, folder: Path) -> None:
    def weights() -> Check:
        return _weights()

    assert weights().is_well and f"{len(shipped_records())} files come with the program" in weights().detail
    assert "no others are here" in weights().detail
    assert not folder.exists()
    misc("weights", "add", checkpoint, "--name", "mine", "--part", "coarse", "--architecture", "mbt2018")
    assert weights().is_well and "mine" in weights().detail
    next(folder.glob("files/*.pth.tar")).write_bytes(b"cut")
    assert not weights().is_well and weights().detail == "mine is corrupt"
    (folder / "index.json").write_text("nonsense")
    assert not weights().is_well and "index.json" in weights().detail


def test_broken_index_is_a_sentence_and_not_a_trace(misc: Misc, folder: Path) -> None:
    folder.mkdir()
    (folder / "index.json").write_text("nonsense")

    for words in (["list"], ["verify"]):
        result = misc("weights", *words)
        assert result.exit_code == 2
        assert "index.json" in result.stderr


def test_help_of_every_command_shows_an_example(misc: Misc) -> None:
    for command in ("list", "pull", "verify", "add"):
        assert f"misc weights {command}" in misc("weights", command, "--help").stdout


def test_public_hub_is_the_endpoint_without_a_mirror() -> None:
    assert pull.HUB_ENDPOINT == "https://huggingface.co"
