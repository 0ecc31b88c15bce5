"""Who may call: keys where there are some, this machine's own user where there are none."""

import pytest
from fastapi.testclient import TestClient

from api.auth import check_listening, is_loopback
from core.errors import SettingsInvalid
from core.settings import APISettings
from tests.unit.api.conftest import Opener

CLOSED = ("/v1/images", "/v1/jobs", "/metrics", "/v1/images/img_00000000000000000000000000/bitstream", "/nowhere")
OPEN = ("/", "/docs", "/openapi.json", "/healthz", "/web/main.js", "/web/style.css")


@pytest.fixture
def guarded(open_client: Opener) -> TestClient:
    return open_client(host="archive.example", keys="first-key, zweiter-schlüssel")


@pytest.mark.parametrize("path", CLOSED)
def test_without_a_key_nothing_is_told(guarded: TestClient, path: str) -> None:
    answer = guarded.get(path)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", OPEN)
def test_page_and_health_need_no_key(guarded: TestClient, path: str) -> None:
    assert guarded.get(path).status_code == 200


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer ", "Bearer first", "Bearer first-key2", "Basic first-key", "first-key", "Bearer \xff"]
)
def test_wrong_key_is_refused(guarded: TestClient, header: str) -> None:
    assert guarded.get("/v1/jobs", headers={"Authorization": header.encode("latin-1")}).status_code == 401  # type: ignore[dict-item]


@pytest.mark.parametrize("header", ["Bearer first-key", "bearer  first-key", "Bearer zweiter-schlüssel"])
def test_each_configured_key_opens(guarded: TestClient, header: str) -> None:
    assert guarded.get("/v1/jobs", headers={"Authorization": header.encode()}).status_code == 200  # type: ignore[dict-item]


def test_keys_themselves_are_not_kept(guarded: TestClient) -> None:
    layers = [layer for layer in guarded.app.user_middleware if "Auth" in layer.cls.__name__]  # type: ignore[attr-defined]
    assert "first-key" not in repr(layers)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "192.168.1.7",
        "",
        "127.0.0.1.nip.io",
        "[::2]",
        "evil@127.0.0.1",
        "127.0.0.1:80:80",
    ],
)
def test_foreign_host_name_is_refused_without_keys(client: TestClient, host: str) -> None:
    answer = client.get("/v1/jobs", headers={"Host": host})
    assert (answer.status_code, answer.json()["code"]) == (421, "host_not_allowed")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "127.8.8.8", "[::1]:8000"])
def test_this_machines_names_are_let_in(client: TestClient, host: str) -> None:
    assert client.get("/v1/jobs", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 421),
        ({"Origin": "null"}, 421),
        ({"Origin": "http://localhost:3000"}, 421),
        ({"Origin": "http://evil@localhost:8000"}, 421),
        ({"Sec-Fetch-Site": "cross-site"}, 421),
        ({"Sec-Fetch-Site": "same-site"}, 421),
        ({"Origin": "http://localhost:8000", "Sec-Fetch-Site": "same-origin"}, 202),
        ({"Origin": "https://localhost:8000"}, 202),
        ({"Sec-Fetch-Site": "none"}, 202),
        ({}, 202),
    ],
)
def test_post_of_a_foreign_page_is_refused_without_keys(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    headers = {"Host": "localhost:8000"} | headers
    assert client.post("/v1/probes", json={"queue": "encode"}, headers=headers).status_code == status


def test_no_answer_opens_the_service_to_other_pages(client: TestClient) -> None:
    answer = client.get("/v1/jobs", headers={"Origin": "http://localhost:3000"})
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "archive.example"])
def test_listening_for_others_needs_keys(host: str) -> None:
    with pytest.raises(SettingsInvalid, match="MISC_API_KEYS"):
        check_listening(APISettings(host=host))
    check_listening(APISettings(host=host, keys="k"))  # type: ignore[arg-type]


def test_address_that_is_empty_is_this_machine_and_not_all_of_them() -> None:
    assert APISettings(host="").host == "127.0.0.1"


def test_loopback_is_recognised() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "::1", "localhost", "127.255.0.9")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "1.2.3.4", "local", "")))
