"""What `misc push` makes of its inputs: names with folders, manifests, the name of the batch, the lines of a report."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from cli.commands import push
from cli.local.manifest import ManifestEntry, read_manifest
from cli.report.batch_report import batch_report_lines
from cli.server.client import Client, ClientError, ServerUnreachable
from cli.server.group import Group
from codec.errors import OptionError


def _folders(tmp_path: Path, *names: str) -> list[Path]:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return [tmp_path / name for name in names]


def test_names_have_their_folders_and_of_several_inputs_that_too(tmp_path: Path) -> None:
    _folders(tmp_path, "a/x.png", "a/may/x.png", "b/x.png", "c.png")

    def _names(*inputs: str) -> list[str]:
        source = push._Source([tmp_path / name for name in inputs])
        return [picture.name for picture in push._pictures(source, {}, tmp_path)[0]]

    assert _names("a") == ["may/x.png", "x.png"]
    assert _names("a", "b", "c.png") == ["a/may/x.png", "a/x.png", "b/x.png", "c.png"]


def test_batch_is_called_as_was_said_or_like_the_folder(tmp_path: Path) -> None:
    _folders(tmp_path, "trip/x.png", "trip/sub/y.png", "other/trip/z.png")
    trip = push._group_name([tmp_path / "trip"], None, 2)
    both = push._group_name([tmp_path / "trip" / "x.png", tmp_path / "trip" / "sub" / "y.png"], None, 2)
    elsewhere = push._group_name([tmp_path / "other" / "trip"], None, 1)
    assert trip is not None and both is not None and elsewhere is not None
    assert trip == both and (trip.name, elsewhere.name) == ("trip", "trip") and trip.mark != elsewhere.mark
    named = push._group_name([tmp_path / "trip" / "x.png"], "spring", 1)
    assert named is not None and named.name == "spring"
    assert push._group_name([tmp_path / "trip" / "x.png"], None, 1) is None


def test_manifest_of_the_service_can_be_handed_in_again(tmp_path: Path) -> None:
    lines = [
        {"name": "may/a.png", "image_id": "img_1", "state": "ready", "options": {"mode": "pixel"}, "bytes": 7},
        {"name": "b\u2028.png"},
    ]
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n\n")
    assert read_manifest(path) == [ManifestEntry("may/a.png", {"mode": "pixel"}), ManifestEntry("b\u2028.png", {})]
    source = push._Source([tmp_path], manifest=path)
    pictures, left_out = push._pictures(source, {"level": 2}, tmp_path)
    assert [(one.path, one.name, one.options) for one in pictures] == [
        (tmp_path / "may" / "a.png", "may/a.png", {"level": 2, "mode": "pixel"}),
        (tmp_path / "b\u2028.png", "b\u2028.png", {"level": 2}),
    ]
    assert left_out == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "names no picture"),
        ("{", "line 1 is no JSON"),
        ("[]", "is not like"),
        ('{"name": 5}', "is not like"),
        ('{"name": "a", "options": []}', "is not like"),
        ('{"name": "a.png"}\n{"name": "../a.png"}', "line 2.*no path below"),
        ('{"name": "/etc/a.png"}', "no path below"),
    ],
)
def test_manifest_that_is_none_is_told_with_its_line(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "m.jsonl").write_text(text)
    with pytest.raises(OptionError, match=reason):
        read_manifest(tmp_path / "m.jsonl")


def test_options_of_a_manifest_are_checked_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"name": "a.png", "options": {"levels": 3}}')
    with pytest.raises(OptionError, match="levels"):
        push._pictures(push._Source([tmp_path], manifest=tmp_path / "m.jsonl"), {}, tmp_path)
    with pytest.raises(typer.Exit):
        push._pictures(push._Source([tmp_path, tmp_path], manifest=tmp_path / "m.jsonl"), {}, tmp_path)


def test_report_is_a_line_for_the_whole_and_one_for_each_reason() -> None:
    report = {
        "batch": {"id": "bat_1", "name": "spring", "rejections": 5},
        "images": {"pending": 0, "ready": 90, "failed": 4, "cancelled": 0},
        "missing": 1, "bitstream_bytes": 90_000, "original_bytes": 9_000_000, "pixels": 18_000_000,
        "bpp": 0.04, "least_bpp": 0.02, "most_bpp": 0.05,
        "quality": {"psnr-rgb": {"count": 80, "mean": 24.125, "worst": 19.5}},
        "failures": [
            {"code": "budget_unreachable", "count": 4, "names": ["a/1.png", "a/2.png", "b.png"]},
            {"code": "picture_truncated", "count": 2, "names": ["c.png", "d.png"]},
        ],
    }  # fmt: skip
    assert list(batch_report_lines(report)) == [
        "bat_1  spring: 90 ready, 4 failed, 5 rejected, 1 missing",
        "  90000 bytes of 9000000, 0.0400 bpp (0.0200 to 0.0500)",
        "  psnr-rgb 24.12 (worst 19.5) of 80 that were verified",
        "  budget_unreachable 4: a/1.png, a/2.png, b.png, ...",
        "  picture_truncated 2: c.png, d.png",
    ]


class _Restarting(Client):
    """A client whose server breaks off after each event; `asked` is where each stream was to go on."""

    def __init__(self, answers: list[Any]) -> None:
        super().__init__("http://127.0.0.1:9")
        self.patience_seconds = 60
        self.answers, self.asked = answers, list[str]()

    def events(self, path: str, last_id: str) -> Any:
        from contextlib import contextmanager

        @contextmanager
        def _stream() -> Any:
            self.asked.append(last_id)
            answer = self.answers.pop(0)
            if isinstance(answer, ClientError):
                raise answer

            def _one() -> Any:
                yield answer
                raise ServerUnreachable(self.server, "cut")

            yield _one()

        return _stream()


def _group(client: Client) -> Group:
    group = Group.__new__(Group)
    group.id, group._client = "bat_1", client
    return group


def test_group_is_followed_through_restarts_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.server.group._RECONNECT_SECONDS", 0.0)
    away = ServerUnreachable("http://x", "refused")
    busy = ClientError("database_unavailable", "It is away.", 503)
    first, last = ("250000", {"progress": 0.25, "is_done": False}), ("1000000", {"progress": 1.0, "is_done": True})
    told: list[float] = []
    with _Restarting([first, away, busy, last]) as client:
        _group(client).wait(lambda batch: told.append(batch["progress"]))
        assert client.asked == ["", "250000", "250000", "250000"]
    assert told == [0.25, 1.0]


def test_group_that_is_gone_or_server_that_stays_away_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.server.group._RECONNECT_SECONDS", 0.0)
    with (
        _Restarting([ClientError("not_found", "It is gone.", 404)]) as client,
        pytest.raises(ClientError, match="gone"),
    ):
        _group(client).wait(lambda _: None)
    with _Restarting([ServerUnreachable("http://x", "refused")]) as client:
        client.patience_seconds = -1
        with pytest.raises(ServerUnreachable):
            _group(client).wait(lambda _: None)
