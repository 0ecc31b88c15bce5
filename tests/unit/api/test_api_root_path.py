"""Serving below a path: a proxy in front takes the path off requests, or leaves it on."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

import api
from tests.unit.api.samples import picture

ROOT = "/archive/misc"


@pytest.mark.parametrize("prefix", [ROOT, ""], ids=["left on", "taken off"])
def test_every_address_in_an_answer_is_below_the_path(open_client: Callable[..., TestClient], prefix: str) -> None:
    client = open_client(root_path=ROOT)
    answer = client.post(f"{prefix}/v1/images", files={"file": ("a.png", picture(), "image/png")})
    assert answer.status_code == 202, answer.text
    links = [*answer.json()["image"]["links"].values(), *answer.json()["job"]["links"].values()]
    links = [link for link in links if link is not None]
    assert len(links) > 4
    for link in (*links, answer.headers["Location"]):
        assert link.startswith(f"{ROOT}/v1/")
    assert client.get(answer.headers["Location"]).status_code == 200
    assert client.get(f"{prefix}/v1/images").json()["items"][0]["links"]["self"].startswith(ROOT)
    assert client.get(f"{prefix}/openapi.json").json()["servers"] == [{"url": ROOT}]


def test_page_and_its_parts_are_reached_below_the_path(open_client: Callable[..., TestClient]) -> None:
    client = open_client(root_path=ROOT)
    moved = client.get(ROOT, follow_redirects=False)
    assert (moved.status_code, moved.headers["Location"]) == (308, f"{ROOT}/")
    for page in ("", "docs"):
        text = client.get(f"{ROOT}/{page}").text
        names = re.findall(r'(?:href|src)="([^"]*)"', text)
        assert names
        for name in names:
            assert not name.startswith("/"), name
            assert client.get(f"{ROOT}/{name.removeprefix('./')}").status_code == 200, name
    scripts = [path.name for path in (Path(api.__file__).parent / "web").glob("*.js")]
    assert scripts
    for script in scripts:
        text = client.get(f"{ROOT}/web/{script}").text
        # A path of the OpenAPI document is no address.
        assert not re.search(r"""(?<!schemaOf\()["'`]/(v1|web|docs|openapi)""", text), script


def test_keys_and_limits_hold_below_the_path(open_client: Callable[..., TestClient]) -> None:
    client = open_client(root_path=ROOT, keys="one", max_upload_bytes=1000)
    assert client.get(f"{ROOT}/healthz").status_code == 200
    assert client.get(f"{ROOT}/v1/images").status_code == 401
    large = client.post(
        f"{ROOT}/v1/images",
        files={"file": ("a.png", bytes(5000), "image/png")},
        headers={"Authorization": "Bearer one"},
    )
    assert large.status_code == 413


def test_without_the_setting_no_path_is_taken_off(client: TestClient) -> None:
    assert client.get(f"{ROOT}/healthz").status_code == 404
    assert client.get("/v1/images").json()["items"] == []
