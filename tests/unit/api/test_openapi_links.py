"""The links of the document lead where they say, from real answers."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.unit.api.samples import submit

_EXPRESSION = "$response.body#/"


def _links(client: TestClient, path: str, status: str) -> dict[str, Any]:
    links: dict[str, Any] = client.get("/openapi.json").json()["paths"][path]["post"]["responses"][status]["links"]
    return links


def _follow(client: TestClient, body: dict[str, Any], link: dict[str, Any], path: str) -> int:
    for parameter, expression in link["parameters"].items():
        value: Any = body
        for name in expression.removeprefix(_EXPRESSION).split("/"):
            value = value[name]
        path = path.replace(f"{{{parameter}}}", value)
    return client.get(path).status_code


def test_submission_leads_to_its_image_and_job(client: TestClient) -> None:
    links = _links(client, "/v1/images", "202")
    assert {"get_image", "fetch_bitstream", "order_reconstruction", "get_job", "cancel_job"} <= set(links)
    body = submit(client)
    assert _follow(client, body, links["get_image"], "/v1/images/{image_id}") == 200
    assert _follow(client, body, links["get_job"], "/v1/jobs/{job_id}") == 200


@pytest.mark.parametrize(
    ("path", "json", "operation", "target"),
    [
        ("/v1/batches", {"name": "trip"}, "get_batch", "/v1/batches/{batch_id}"),
        ("/v1/probes", {"queue": "encode"}, "get_job", "/v1/jobs/{job_id}"),
    ],
)
def test_what_is_made_leads_to_itself(
    client: TestClient, path: str, json: dict[str, Any], operation: str, target: str
) -> None:
    answer = client.post(path, json=json)
    assert _follow(client, answer.json(), _links(client, path, str(answer.status_code))[operation], target) == 200


@pytest.mark.parametrize("expected", [False, "3", 3.5])
def test_batch_announces_a_whole_number(client: TestClient, expected: object) -> None:
    assert client.post("/v1/batches", json={"expected": expected}).status_code == 400
