"""Taking in streams that were made elsewhere."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from api.services import Services
from cli.commands.inspect import contents
from codec.bitstream import ExternalCoarse, Stream, pack
from core.database import Database
from models import Image
from models.pending_deletion import PendingDeletion
from tests.unit.api.samples import picture, stream


def test_stream_becomes_an_image_and_is_stored(client: TestClient, objects_folder: Path) -> None:
    answer = client.post("/v1/bitstreams", content=stream(), params={"name": "../x/boat.misc"})
    image = answer.json()["image"]
    assert (answer.status_code, answer.headers["location"]) == (201, f"/v1/images/{image['id']}")
    assert (image["name"], image["state"], image["bitstream_bytes"]) == ("boat.misc", "ready", len(stream()))
    assert image["description"]["describer"] == "given"
    assert [path.read_bytes() for path in objects_folder.rglob("*.misc")] == [stream()]


def test_same_stream_is_one_image_however_it_is_sent(client: TestClient, database: Database) -> None:
    first = client.post("/v1/bitstreams", content=stream())
    second = client.post("/v1/bitstreams", files={"file": ("again.misc", stream())})
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json()["image"]["id"] == first.json()["image"]["id"]
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Image)) == 1


def test_external_stream_tells_what_it_declares(client: TestClient) -> None:
    data = pack(Stream(100, 50, ExternalCoarse(bytes(range(16)), 4000))).data
    image = client.post("/v1/bitstreams", content=data).json()["image"]
    told = contents("a.misc", data)
    assert {name: image[name] for name in ("mode", "external", "declared_bits", "bpp_declared", "bpp", "bits")} == {
        name: told[name] for name in ("mode", "external", "declared_bits", "bpp_declared", "bpp", "bits")
    }
    assert (image["mode"], image["external"]) == ("ref", True)
    assert image["declared_bits"] == 4000 + 8 * len(data) - image["bits"]["coarse"]


def test_same_stream_taken_by_many_at_once_is_one_image(client: TestClient, database: Database) -> None:
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: client.post("/v1/bitstreams", content=stream()), range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
    assert len({answer.json()["image"]["id"] for answer in answers}) == 1
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(PendingDeletion)) == 0


def test_stream_whose_reservation_another_used_up_is_the_others_image(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, ids = services.storage.put, []

    def _overtaken(*args: Any, **kwargs: Any) -> None:
        put(*args, **kwargs)
        monkeypatch.setattr(services.storage, "put", put)
        ids.append(client.post("/v1/bitstreams", content=stream()).json()["image"]["id"])

    monkeypatch.setattr(services.storage, "put", _overtaken)
    answer = client.post("/v1/bitstreams", content=stream())
    assert (answer.status_code, [answer.json()["image"]["id"]]) == (200, ids)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "stream_truncated"),
        (picture(), "stream_invalid"),
        (stream()[:-1], None),
        (stream()[:5], None),
        (stream()[:-6] + bytes([stream()[-6] ^ 1]) + stream()[-5:], "stream_corrupt"),
    ],
    ids=["empty", "a PNG", "last byte missing", "head", "a bit flipped"],
)
def test_bad_stream_is_refused(
    client: TestClient, data: bytes, code: str | None, assert_nothing_left: Callable[[], None]
) -> None:
    for answer in (
        client.post("/v1/bitstreams", content=data),
        client.post("/v1/bitstreams", files={"file": ("a.misc", data)}),
    ):
        assert answer.status_code == 422
        assert answer.json()["code"] == code or (code is None and answer.json()["code"].startswith("stream_"))
    assert_nothing_left()


def test_stream_that_is_too_large_is_refused(client: TestClient, assert_nothing_left: Callable[[], None]) -> None:
    answer = client.post("/v1/bitstreams", content=bytes(25 * 1024 * 1024))
    assert (answer.status_code, answer.json()["code"]) == (413, "upload_too_large")
    for sent in ({"content": bytes(17 * 1024 * 1024)}, {"files": {"file": ("a.misc", bytes(17 * 1024 * 1024))}}):
        answer = client.post("/v1/bitstreams", **sent)  # type: ignore[arg-type]
        assert (answer.status_code, answer.json()["code"]) == (422, "stream_limit_exceeded")
    assert_nothing_left()


def test_reference_of_an_external_stream_is_kept_beside_it(client: TestClient, objects_folder: Path) -> None:
    reference = picture(4, (100, 50))
    data = pack(Stream(100, 50, ExternalCoarse(hashlib.sha256(reference).digest()[:16], 4000))).data
    first = client.post("/v1/bitstreams", content=data)
    assert (first.status_code, list(objects_folder.glob("references/*/*"))) == (201, [])
    second = client.post("/v1/bitstreams", files={"file": ("a.misc", data), "reference": ("r.png", reference)})
    assert (second.status_code, second.json()["image"]["id"]) == (200, first.json()["image"]["id"])
    assert [path.read_bytes() for path in objects_folder.glob("references/*/*.png")] == [reference]


def test_reference_that_the_stream_does_not_name_is_refused(
    client: TestClient, assert_nothing_left: Callable[[], None]
) -> None:
    external = pack(Stream(100, 50, ExternalCoarse(bytes(16), 4000))).data
    for data, status, code in ((external, 422, "reference_missing"), (stream(), 400, "request_invalid")):
        answer = client.post("/v1/bitstreams", files={"file": ("a.misc", data), "reference": ("r.png", picture())})
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert_nothing_left()
