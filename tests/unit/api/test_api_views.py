"""Thumbnails, AVIF of the same bytes, and several images' files in one archive."""

import io
import zipfile

import pytest
from fastapi.testclient import TestClient
from PIL import Image as Picture
from skimage import data

from api.images.view_cache import ViewCache
from api.images.zip import _Names
from api.services import Services
from codec.bitstream import NetCoarse, Stream, pack
from core.archive import images
from core.owners.view import EVERYTHING
from tests.unit.api.samples import picture, stream, submit


def _size(content: bytes) -> tuple[int, int]:
    with Picture.open(io.BytesIO(content)) as opened:
        return opened.size


def _imported(client: TestClient, content: bytes, name: str = "boat.misc") -> str:
    answer = client.post("/v1/bitstreams", content=content, params={"name": name})
    assert answer.status_code == 201, answer.text
    return f"/v1/images/{answer.json()['image']['id']}"


def test_thumbnail_of_an_original_is_small_and_comes_once(client: TestClient) -> None:
    image = submit(client, picture(1, (1000, 500)))["image"]
    answer = client.get(f"/v1/images/{image['id']}/thumbnail")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
    assert _size(answer.content) == (400, 200)
    assert "max-age=3600" in answer.headers["cache-control"]
    again = client.get(f"/v1/images/{image['id']}/thumbnail", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_thumbnail_of_a_stream_without_networks_has_the_proportions_of_its_picture(client: TestClient) -> None:
    answer = client.get(f"{_imported(client, stream())}/thumbnail")
    assert (answer.status_code, _size(answer.content)) == (200, (400, 300))


def test_stream_that_only_networks_read_has_no_thumbnail_yet(client: TestClient) -> None:
    coarse = NetCoarse(scale=1, payload=b"latents")
    content = pack(Stream(width=64, height=64, coarse=coarse, coarse_network=bytes(4))).data
    answer = client.get(f"{_imported(client, content)}/thumbnail")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_ready")


def test_unknown_image_has_neither(client: TestClient) -> None:
    for part in ("thumbnail", "avif"):
        assert client.get(f"/v1/images/img_{'0' * 26}/{part}").status_code == 404


def _ready(services: Services, image_id: str, limit_bytes: int) -> None:
    """Let an image look as if its stream had so many bytes."""
    with services.database.write() as session:
        image = images.get(session, image_id, EVERYTHING)
        image.bitstream_bytes = limit_bytes


@pytest.mark.parametrize("limit_bytes", [600, 2000, 8000])
def test_avif_has_no_more_bytes_than_the_stream(client: TestClient, services: Services, limit_bytes: int) -> None:
    file = io.BytesIO()
    Picture.fromarray(data.coffee()).save(file, "JPEG")
    image = submit(client, file.getvalue(), keep_original=True)["image"]
    path = f"/v1/images/{image['id']}/avif"
    assert client.get(path).json()["code"] == "not_ready"
    _ready(services, image["id"], limit_bytes)
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/avif")
    assert 0.6 * limit_bytes <= len(answer.content) <= limit_bytes
    width, height = _size(answer.content)
    assert abs(width / height - 600 / 400) < 0.02


def test_avif_that_cannot_get_so_small_is_not_found(client: TestClient, services: Services) -> None:
    image = submit(client, keep_original=True)["image"]
    _ready(services, image["id"], 100)
    for _ in range(2):
        answer = client.get(f"/v1/images/{image['id']}/avif")
        assert (answer.status_code, answer.json()["detail"]) == (404, "AVIF cannot hold this picture in 100 bytes.")


def test_archive_has_each_file_whole_and_under_its_own_name(client: TestClient) -> None:
    first, second = _imported(client, stream(3)), _imported(client, stream(4))
    waiting = submit(client, picture(2), "boat.png")["image"]["links"]["self"]
    ids = [path.rpartition("/")[2] for path in (first, second, waiting, first)]
    answer = client.get("/v1/images.zip", params={"id": ids, "part": ["stream", "original"]})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        files = {name: archive.read(name) for name in archive.namelist()}
    assert files == {"boat.misc": stream(3), "boat (2).misc": stream(4), "boat.png": picture(2)}


def test_archive_of_nothing_is_refused(client: TestClient) -> None:
    image = submit(client)["image"]
    answer = client.get("/v1/images.zip", params={"id": image["id"]})
    assert (answer.status_code, answer.json()["code"]) == (409, "not_ready")
    assert client.get("/v1/images.zip", params={"id": "img_nobody"}).status_code == 404
    assert client.get("/v1/images.zip").status_code == 400
    assert client.get("/v1/images.zip", params={"id": [image["id"]] * 201}).status_code == 400


def test_names_in_an_archive_differ_whatever_their_case() -> None:
    names = _Names()
    taken = [names.free(name) for name in ("a.reconstruction.png", "A.reconstruction.png", ".png", ".png", "b")]
    assert taken == ["a.reconstruction.png", "A (2).reconstruction.png", ".png", ".png (2)", "b"]


def test_cache_keeps_the_latest_files_within_its_bytes() -> None:
    cache = ViewCache(most_bytes=10)
    for key in "abc":
        cache.put(key, b"1234")
    assert [cache.get(key) for key in "abc"] == [None, b"1234", b"1234"]
    cache.get("b")
    cache.put("d", b"12345")
    assert [cache.get(key) for key in "bcd"] == [b"1234", None, b"12345"]
