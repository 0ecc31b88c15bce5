"""Whatever cannot be taken is refused with a 4xx, a stable code and a sentence, and leaves nothing anywhere."""

import errno
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api import uploads
from tests.unit.api.conftest import Opener
from tests.unit.api.samples import MULTIPART, huge_png, picture

JPEG = picture(1, (200, 150), "JPEG")


def _form(*parts: tuple[str, bytes]) -> bytes:
    body = b"".join(
        b"--cut\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + data + b"\r\n"
        for head, data in parts
    )
    return body + b"--cut--\r\n"


FILE = ('name="file"; filename="a.png"', picture())


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"", 422, "picture_empty"),
        (b"This is a letter, whatever it is called.", 415, "picture_unrecognised"),
        (JPEG[: len(JPEG) // 2], 422, "picture_truncated"),
        (picture(2)[:-30], 422, "picture_truncated"),
        (picture(2)[:20], 422, "picture_truncated"),
        (huge_png(), 422, "picture_too_large"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "picture_unrecognised"),
        (b"%PDF-1.7", 415, "picture_unrecognised"),
    ],
    ids=["empty", "text", "half a JPEG", "PNG without its end", "PNG head", "60000x60000", "SVG", "PDF"],
)
def test_bad_picture_is_refused(
    client: TestClient, data: bytes, status: int, code: str, assert_nothing_left: Callable[[], None]
) -> None:
    answer = client.post("/v1/images", files={"file": ("../photo.jpg", data, "image/jpeg")})
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["status"]) == (status, code, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["instance"] == "/v1/images"
    assert len(problem["detail"]) > 20
    assert_nothing_left()


@pytest.mark.parametrize(
    ("options", "status", "code", "words"),
    [
        ('{"block": 3}', 422, "option_invalid", "block"),
        ('{"blocks": 0}', 422, "option_invalid", "blocks"),
        ('{"blocks": 1e400}', 422, "option_invalid", "blocks"),
        ('{"mode": "magic"}', 422, "option_invalid", "mode"),
        ('{"text": "a", "description": {"overall": "b"}}', 422, "option_invalid", "not both"),
        ('{"keep_original": "perhaps"}', 422, "option_invalid", "keep_original"),
        ('{"text": "' + "x" * 4001 + '"}', 422, "option_invalid", "text"),
        ('{"text": "\\ud800"}', 400, "request_invalid", "options"),
        ('{"\\ud800": 1}', 400, "request_invalid", "options"),
        ('{"max_bpp": NaN}', 400, "request_invalid", "NaN"),
        ("[]", 400, "request_invalid", "JSON object"),
        ("{", 400, "request_invalid", "options"),
        ("[" * 100_000, 400, "request_invalid", "options"),
        ('{"blocks": ' + "9" * 10_000 + "}", 400, "request_invalid", "options"),
        ('{"batch_id": "bat_"}', 404, "not_found", "bat_"),
        ('{"batch_id": "bat_00000000000000000000000000"}', 404, "not_found", "bat_0"),
        ('{"batch_id": 7}', 422, "option_invalid", "batch_id"),
    ],
)
def test_bad_options_are_refused_by_name(
    client: TestClient, options: str, status: int, code: str, words: str, assert_nothing_left: Callable[[], None]
) -> None:
    answer = client.post("/v1/images", files={"file": ("a.png", picture())}, data={"options": options})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert words in answer.json()["detail"]
    assert_nothing_left()


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"", MULTIPART, 400, "request_invalid"),
        (_form(), MULTIPART, 400, "request_invalid"),
        (_form(FILE)[:-10], MULTIPART, 400, "request_invalid"),
        (_form(FILE, FILE), MULTIPART, 400, "request_invalid"),
        (_form(FILE, FILE, FILE, FILE), MULTIPART, 413, "upload_too_large"),
        (_form(('name="picture"; filename="a.png"', picture())), MULTIPART, 400, "request_invalid"),
        (_form(('name="file"', b"text")), MULTIPART, 400, "request_invalid"),
        (_form(('filename="a.png"', picture())), MULTIPART, 400, "request_invalid"),
        (_form(FILE, ('name="optoins"', b"{}")), MULTIPART, 400, "request_invalid"),
        (_form(FILE, ('name="options"', b"x" * 300_000)), MULTIPART, 400, "request_invalid"),
        (_form(FILE, ('name="options"', b"\xff\xfe")), MULTIPART, 400, "request_invalid"),
        (_form(FILE, *[(f'name="f{number}"', b"") for number in range(40)]), MULTIPART, 400, "request_invalid"),
        (b"--other\r\nx", MULTIPART, 400, "request_invalid"),
        (_form(FILE), "multipart/form-data", 400, "request_invalid"),
        (_form(FILE), "multipart/form-data; boundary=" + "b" * 5000, 400, "request_invalid"),
        (b"--cut\r\n" + b"X: y\r\n" * 200 + b"\r\n", MULTIPART, 400, "request_invalid"),
        (b"--cut\r\nContent-Disposition: " + b"y" * 100_000, MULTIPART, 400, "request_invalid"),
        (picture(), "image/png", 415, "media_type_unsupported"),
        (b"{}", "application/json", 415, "media_type_unsupported"),
        (b"file=1", "application/x-www-form-urlencoded", 415, "media_type_unsupported"),
    ],
)
def test_bad_form_is_refused(
    client: TestClient, body: bytes, content_type: str, status: int, code: str, assert_nothing_left: Callable[[], None]
) -> None:
    answer = client.post("/v1/images", content=body, headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert_nothing_left()


def test_upload_that_announces_too_much_is_refused_unread(open_client: Opener) -> None:
    client = open_client(max_upload_bytes=1000)
    answer = client.post("/v1/images", files={"file": ("a.png", bytes(2000))})
    assert (answer.status_code, answer.json()["code"]) == (413, "upload_too_large")
    assert "1000 bytes" in answer.json()["detail"]


def test_upload_in_chunks_is_cut_off_at_the_limit(open_client: Opener, temporary_folder: Any) -> None:
    client = open_client(max_upload_bytes=3_000_000)
    sent = 0

    def _chunks() -> Iterator[bytes]:
        nonlocal sent
        yield b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        for _ in range(100):
            sent += 1
            yield bytes(100_000)

    answer = client.post("/v1/images", content=_chunks(), headers={"Content-Type": MULTIPART})
    assert (answer.status_code, answer.json()["code"]) == (413, "upload_too_large")
    assert list(temporary_folder.iterdir()) == []


def test_json_body_is_limited_too(client: TestClient) -> None:
    body = json.dumps({"queue": "encode", "more": "x" * 300_000})
    answer = client.post("/v1/probes", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "upload_too_large")


def test_pixels_are_limited_by_the_settings(open_client: Opener) -> None:
    client = open_client(max_pixels=1000)
    answer = client.post("/v1/images", files={"file": ("a.png", picture(1, (40, 40)))})
    assert (answer.status_code, answer.json()["code"]) == (422, "picture_too_large")


def test_field_that_comes_twice_is_refused(client: TestClient, assert_nothing_left: Callable[[], None]) -> None:
    body = b"".join(
        b'--cut\r\nContent-Disposition: form-data; name="options"\r\n\r\n{"blocks": %d}\r\n' % blocks
        for blocks in (8, 9)
    )
    answer = client.post("/v1/images", content=body + b"--cut--\r\n", headers={"Content-Type": MULTIPART})
    assert (answer.status_code, answer.json()["code"]) == (400, "request_invalid")
    assert "more than once" in answer.json()["detail"]
    assert_nothing_left()


def test_upload_without_room_for_its_files_is_507_and_leaves_nothing(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, assert_nothing_left: Callable[[], None]
) -> None:
    def _fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(uploads._Receiver, "feed", _fail)
        answer = client.post("/v1/images", files={"file": ("a.png", picture())})
    assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")
    assert answer.headers["retry-after"]
    assert_nothing_left()
