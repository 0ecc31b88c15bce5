"""Fetching a stream: its bytes, its tag, ranges of it, and nothing twice."""

import hashlib
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from api.downloads import renamed
from api.services import Services
from core.database import Database
from core.errors import ObjectCorrupt
from core.storage.keys import bitstream_key
from models.stored_object import StoredObject
from tests.unit.api.samples import picture, stream, submit

DATA = stream()
SIZE = len(DATA)
TAG = f'"{hashlib.sha256(DATA).hexdigest()}"'


@pytest.fixture
def path(client: TestClient) -> str:
    image = client.post("/v1/bitstreams", content=DATA, params={"name": 'bo"at é.jpg'}).json()["image"]
    return f"/v1/images/{image['id']}/bitstream"


def test_stream_comes_whole_with_tag_and_name(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.content) == (200, DATA)
    assert answer.headers["content-type"] == "application/vnd.misc-archive"
    assert (answer.headers["etag"], answer.headers["accept-ranges"]) == (TAG, "bytes")
    assert answer.headers["content-length"] == str(SIZE)
    assert answer.headers["content-disposition"] == (
        "attachment; filename=\"bo_at e.misc\"; filename*=UTF-8''bo%22at%20%C3%A9.misc"
    )


def test_head_tells_the_same_without_the_bytes(client: TestClient, path: str) -> None:
    got, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("etag", "content-length", "content-type", "accept-ranges", "content-disposition"):
        assert head.headers[name] == got.headers[name]


@pytest.mark.parametrize("header", [TAG, f'"other", {TAG}', f"W/{TAG}", "*"])
def test_caller_who_has_it_is_told_so(client: TestClient, path: str, header: str) -> None:
    answer = client.get(path, headers={"If-None-Match": header})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", TAG)


def test_caller_who_has_another_gets_it(client: TestClient, path: str) -> None:
    assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=5-5", 5, 6),
        ("bytes=10-", 10, SIZE),
        ("bytes=-7", SIZE - 7, SIZE),
        ("bytes=-100000", 0, SIZE),
        (f"bytes=3-{10**17}", 3, SIZE),
    ],
)
def test_range_is_cut_out_exactly(client: TestClient, path: str, header: str, start: int, end: int) -> None:
    answer = client.get(path, headers={"Range": header})
    assert (answer.status_code, answer.content) == (206, DATA[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert answer.headers["content-length"] == str(end - start)


@pytest.mark.parametrize("header", [f"bytes={SIZE}-", f"bytes={SIZE + 5}-{SIZE + 9}", "bytes=-0"])
def test_range_beyond_the_end_is_refused(client: TestClient, path: str, header: str) -> None:
    answer = client.get(path, headers={"Range": header})
    assert (answer.status_code, answer.json()["code"]) == (416, "range_unsatisfiable")
    assert answer.headers["content-range"] == f"bytes */{SIZE}"


@pytest.mark.parametrize(
    "header", ["bytes=5-2", "bytes=0-1,3-4", "lines=1-2", "bytes=-", "bytes=a-b", "bytes=" + "9" * 40 + "-"]
)
def test_range_that_is_none_is_passed_over(client: TestClient, path: str, header: str) -> None:
    answer = client.get(path, headers={"Range": header})
    assert (answer.status_code, answer.content) == (200, DATA)


def test_range_of_another_version_is_not_mixed_in(client: TestClient, path: str) -> None:
    assert client.get(path, headers={"Range": "bytes=0-3", "If-Range": '"other"'}).status_code == 200
    assert client.get(path, headers={"Range": "bytes=0-3", "If-Range": TAG}).status_code == 206


def test_redirect_falls_back_to_the_bytes_where_storage_has_no_addresses(client: TestClient, path: str) -> None:
    assert client.get(path, params={"redirect": "true"}).content == DATA


def test_redirect_goes_to_the_object_store(
    client: TestClient, services: Services, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services.storage, "presigned_url", lambda key, **more: f"https://store.example/{key}?{more}")
    answer = client.get(path, params={"redirect": "true"}, follow_redirects=False)
    assert answer.status_code == 307
    assert answer.headers["location"].startswith(f"https://store.example/{bitstream_key(TAG[1:-1])}")
    assert client.get(path, follow_redirects=False).status_code == 200


def test_stream_that_is_not_there_yet_is_a_conflict(client: TestClient) -> None:
    answer = client.get(f"/v1/images/{submit(client)['image']['id']}/bitstream")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_ready")


def test_object_that_was_lost_is_told_as_such(client: TestClient, services: Services, path: str) -> None:
    services.storage.delete(bitstream_key(TAG[1:-1]))
    answer = client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "object_not_found")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.png", "a.misc"),
        ("a", "a.misc"),
        (".png", ".png.misc"),
        ("v1.2 final", "v1.2 final.misc"),
        ("a.b.jpeg", "a.b.misc"),
    ],
)
def test_extension_is_exchanged(name: str, expected: str) -> None:
    assert renamed(name, "misc") == expected


def _damage(folder: Path, sha256: str, at: int) -> None:
    """Flip a bit of the stored object with this digest, whatever it is stored as."""
    (file,) = [each for each in folder.rglob("*") if each.is_file() and _digest(each) == sha256]
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.chmod(0o600)
    file.write_bytes(content)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-3"}])
def test_damaged_stream_is_never_sent(
    client: TestClient, path: str, objects_folder: Path, headers: dict[str, str]
) -> None:
    sha256 = client.head(path).headers["etag"].strip('"')
    _damage(objects_folder, sha256, -1)
    answer = client.get(path, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (502, "object_corrupt")


def test_damaged_stream_is_healed_by_uploading_it_again(
    client: TestClient, path: str, objects_folder: Path, database: Database
) -> None:
    content = client.get(path).content
    _damage(objects_folder, hashlib.sha256(content).hexdigest(), -1)
    assert client.get(path).status_code == 502
    assert _damaged(database) == [hashlib.sha256(content).hexdigest()]
    assert client.post("/v1/bitstreams", content=content).status_code == 200
    assert (client.get(path).content, _damaged(database)) == (content, [])


def _damaged(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(StoredObject.sha256).where(StoredObject.damaged_at.is_not(None))))


@pytest.fixture
def kept_original(client: TestClient) -> tuple[str, bytes]:
    """Where an original of some 3 MB is fetched, and its bytes."""
    content = picture(7, (1000, 1000))
    body = submit(client, content, keep_original=True)
    return f"/v1/images/{body['image']['id']}/original", content


def test_large_object_comes_in_pieces_and_by_range(client: TestClient, kept_original: tuple[str, bytes]) -> None:
    address, content = kept_original
    assert client.get(address).content == content
    answer = client.get(address, headers={"Range": "bytes=1000000-2000001"})
    assert (answer.status_code, answer.content) == (206, content[1_000_000:2_000_002])


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=5-99"}])
def test_last_piece_of_a_damaged_large_object_is_withheld(
    client: TestClient, kept_original: tuple[str, bytes], objects_folder: Path, headers: dict[str, str]
) -> None:
    address, content = kept_original
    _damage(objects_folder, hashlib.sha256(content).hexdigest(), 2_900_000)
    received = b""
    # The answer has begun, so that nothing but a broken connection can tell; the test's client shows it as this.
    with pytest.raises(RuntimeError) as failure, client.stream("GET", address, headers=headers) as answer:
        for piece in answer.iter_bytes():
            received += piece
    assert isinstance(failure.value.__cause__, ObjectCorrupt)
    assert len(received) < len(content)
