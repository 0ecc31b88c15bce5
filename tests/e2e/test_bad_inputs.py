"""What people send by mistake or on purpose: the real service answers each with a problem document that has a stable
code and a sentence, and keeps nothing of it. The command says the same."""

import io
import json
import os
import sqlite3
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from cli.commands.demo import isolated_environment
from cli.up.stack import EmbeddedStack

pytestmark = pytest.mark.timeout(240)

refused = pytest.mark.usefixtures("nothing_is_left")

KEY = "a-key-of-this-test"
UPLOAD_LIMIT_BYTES = 3 * 1024 * 1024


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    environment = isolated_environment(os.environ) | {
        "MISC_API_KEYS": KEY,
        "MISC_API_MAX_UPLOAD_BYTES": str(UPLOAD_LIMIT_BYTES),
        "TMPDIR": str(tmp_path_factory.mktemp("uploads")),
    }
    with EmbeddedStack(tmp_path_factory.mktemp("stack") / "data", 0, environment=environment) as stack:
        stack.wait_ready()
        _wait_for_sent_wake_ups(stack)
        yield stack


def _wait_for_sent_wake_ups(stack: EmbeddedStack) -> None:
    """The probes' outbox rows go a moment after their wake-ups were sent; counting starts once they are gone."""
    deadline = time.monotonic() + 20
    while _kept(stack)["rows"]["outbox"] and time.monotonic() < deadline:
        time.sleep(0.05)


@pytest.fixture
def http(stack: EmbeddedStack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.base_url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60) as client:
        yield client


@pytest.fixture
def nothing_is_left(stack: EmbeddedStack) -> Iterator[None]:
    before = _kept(stack)
    yield
    assert _kept(stack) == before


def _kept(stack: EmbeddedStack) -> dict[str, Any]:
    """Rows of everything that an upload could create, objects in storage, and files of uploads."""
    objects = stack.data / "objects"
    with sqlite3.connect(stack.data / "misc.db") as database:
        rows = {
            table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("images", "jobs", "outbox", "batches", "loose_objects", "reconstructions")
        }
    files = sorted(str(path.relative_to(objects)) for path in objects.rglob("*") if path.is_file())
    uploads = sorted(path.name for path in Path(stack.environment["TMPDIR"]).glob("misc-upload-*"))
    return {"rows": rows, "files": files, "uploads": uploads}


def _picture(file_format: str, size: tuple[int, int] = (64, 48)) -> bytes:
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, file_format)
    return file.getvalue()


def _bomb(width: int, height: int) -> bytes:
    """A PNG whose header claims this size, with a little data behind it."""

    def _chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


BAD_FILES = {
    "empty": (b"", "picture_empty", 422),
    "text": (b"Dear Sir or Madam, this is not a picture.\n" * 20, "picture_unrecognised", 415),
    "cut_jpeg": (_cut(_picture("JPEG")), "picture_truncated", 422),
    "cut_png": (_cut(_picture("PNG")), "picture_truncated", 422),
    "bomb": (_bomb(60_000, 60_000), "picture_too_large", 422),
    "wide_bomb": (_bomb(2_000_000, 1), "picture_too_large", 422),
}


def _submit(http: httpx.Client, data: bytes, name: str = "photo.jpg", options: object = None) -> httpx.Response:
    fields = {} if options is None else {"options": options if isinstance(options, str) else json.dumps(options)}
    return http.post("/v1/images", files={"file": (name, data, "image/jpeg")}, data=fields)


def _problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code
    assert problem["status"] == status
    # A sentence for people, and nothing of what lies behind the service.
    assert len(problem["detail"]) > 20
    assert "/tmp" not in problem["detail"]
    assert "Traceback" not in problem["detail"]
    return problem


@refused
@pytest.mark.parametrize("name", BAD_FILES)
def test_file_that_is_no_good_picture_is_refused(http: httpx.Client, name: str) -> None:
    data, code, status = BAD_FILES[name]

    _problem(_submit(http, data), status, code)


@refused
def test_upload_over_the_limit_is_refused_without_being_taken_in(http: httpx.Client) -> None:
    answer = _submit(http, bytes(UPLOAD_LIMIT_BYTES + 1))

    problem = _problem(answer, 413, "upload_too_large")
    assert any(digit in problem["detail"] for digit in "0123456789")


@refused
def test_upload_of_200_mb_that_does_not_say_its_length_is_refused(http: httpx.Client) -> None:
    def _body() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
        for _ in range(200):
            yield bytes(1024 * 1024)
        yield b"\r\n--x--\r\n"

    try:
        answer = http.post("/v1/images", content=_body(), headers={"Content-Type": "multipart/form-data; boundary=x"})
    except (httpx.WriteError, httpx.ReadError):
        return  # the service may close the connection on a caller that goes on sending
    _problem(answer, 413, "upload_too_large")


@refused
@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"no_such_option": 1}, "no_such_option"),
        ({"mode": "crayon"}, "mode"),
        ({"profile": "sd3"}, "profile"),
        ({"profile": [1]}, "profile"),
        ({"blocks": 0}, "blocks"),
        ({"level": 3.5}, "level"),
        ({"text": "a", "description": {"overall": "b"}}, "either"),
        ({"text": "x" * 4001}, "text"),
    ],
)
def test_wrong_option_is_refused_by_name(http: httpx.Client, options: dict[str, Any], named: str) -> None:
    problem = _problem(_submit(http, _picture("JPEG"), options=options), 422, "option_invalid")

    assert named in problem["detail"]


@refused
@pytest.mark.parametrize("options", ["{", "[1]", '{"blocks": NaN}', '{"text": "\\ud800"}'])
def test_options_that_are_no_json_object_are_refused(http: httpx.Client, options: str) -> None:
    _problem(_submit(http, _picture("JPEG"), options=options), 400, "request_invalid")


@refused
@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Basic YTpi", "Bearer", f"Bearer {KEY}x"])
def test_wrong_key_is_refused_before_the_upload_is_looked_at(stack: EmbeddedStack, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    with httpx.Client(base_url=stack.base_url, headers=headers) as stranger:
        answer = _submit(stranger, _picture("JPEG"))

    _problem(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("name", "kept_as"),
    [
        ("../../../etc/passwd", "passwd"),
        ("..\\..\\windows\\system32\\evil.jpg", "evil.jpg"),
        ("/absolute/path.jpg", "path.jpg"),
        ("..", "picture"),
        ("n" * 400 + ".jpg", "n" * 251 + ".jpg"),
    ],
)
def test_name_like_a_path_becomes_a_plain_name(
    stack: EmbeddedStack, http: httpx.Client, name: str, kept_as: str
) -> None:
    outside = sorted(path for path in stack.data.parent.iterdir())

    answer = _submit(http, _picture("JPEG"), name, {"mode": "pixel", "describe": "none"})

    assert answer.status_code == 202, answer.text
    image = answer.json()["image"]
    assert image["name"] == kept_as
    assert sorted(path for path in stack.data.parent.iterdir()) == outside
    assert all(kept_as not in path.name for path in (stack.data / "objects").rglob("*"))
    _wait_until_settled(stack)


def _wait_until_settled(stack: EmbeddedStack) -> None:
    """Until the picture is encoded, its record written and its original swept, so that the next test finds nothing
    moving."""
    deadline = time.monotonic() + 60
    while True:
        with sqlite3.connect(stack.data / "misc.db") as database:
            states = {state for (state,) in database.execute("SELECT state FROM jobs")}
            (loose,) = database.execute("SELECT count(*) FROM loose_objects").fetchone()
            (unrecorded,) = database.execute("SELECT count(*) FROM images WHERE record_sha256 IS NULL").fetchone()
        if states == {"succeeded"} and not loose and not unrecorded:
            return
        assert time.monotonic() < deadline, (states, loose, unrecorded)
        time.sleep(0.1)


@refused
@pytest.mark.parametrize("data", [b"", b"not a stream", b"\x8dMI" + bytes(40)])
def test_stream_that_is_none_is_refused(http: httpx.Client, data: bytes) -> None:
    answer = http.post("/v1/bitstreams", files={"file": ("a.misc", data, "application/octet-stream")})

    assert answer.status_code == 422
    assert answer.json()["code"].startswith("stream_")


@refused
@pytest.mark.parametrize("path", ["/v1/images/../../etc", "/v1/images/img_0", "/v1/jobs/%00", "/v1/nowhere"])
def test_address_of_nothing_is_a_problem_document(http: httpx.Client, path: str) -> None:
    _problem(http.get(path), 404, "not_found")


def _push(stack: EmbeddedStack, tmp_path: Path, *arguments: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
    environment = isolated_environment(os.environ) | {
        "MISC_SERVER": stack.base_url,
        "MISC_API_KEY": key,
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    return subprocess.run(
        [sys.executable, "-m", "cli.main", "push", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@refused
@pytest.mark.parametrize("name", BAD_FILES)
def test_command_says_what_the_service_says(stack: EmbeddedStack, tmp_path: Path, name: str) -> None:
    data, code, _ = BAD_FILES[name]
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)

    done = _push(stack, tmp_path, str(path), "--json")

    assert done.returncode == 1
    result = json.loads(done.stdout)["results"][0]
    assert result["error"]["code"] == code
    assert f"{path}: {result['error']['message']}" in done.stderr


@refused
@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--mode", "crayon"], 2, "mode"),
        (["--options", '{"no_such_option": 1}'], 2, "no_such_option"),
        (["--options", "{"], 2, "JSON"),
        (["--no-such-flag"], 2, "--no-such-flag"),
    ],
)
def test_command_tells_wrong_usage_before_it_sends(
    stack: EmbeddedStack, tmp_path: Path, arguments: list[str], status: int, said: str
) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(_picture("JPEG"))

    done = _push(stack, tmp_path, str(path), *arguments)

    assert done.returncode == status
    assert said in done.stderr


@refused
def test_command_with_a_wrong_key_says_so(stack: EmbeddedStack, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(_picture("JPEG"))

    done = _push(stack, tmp_path, str(path), key="wrong")

    assert done.returncode == 1
    assert "key" in done.stderr.lower()
