"""Every error is a problem document with a code, and none tells what it should not."""

from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from api import errors
from api.services import Services
from codec import errors as codec_errors
from core import errors as core_errors
from core.jobs import transitions
from tests.claims import claim_job


def _children(kind: type[Exception]) -> list[type[Exception]]:
    found = [kind]
    for child in kind.__subclasses__():
        found += _children(child)
    return found


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/v1/images/", 404, "not_found"),
        ("PUT", "/v1/images", 405, "method_not_allowed"),
        ("POST", "/healthz", 405, "method_not_allowed"),
        ("GET", "/v1/images/img_1", 404, "not_found"),
        ("GET", "/v1/images/%00", 404, "not_found"),
        ("GET", "/v1/images/%ff%fe", 404, "not_found"),
        ("GET", "/v1/images/job_00000000000000000000000000", 404, "not_found"),
        ("GET", "/v1/images/img_00000000000000000000000000", 404, "not_found"),
        ("DELETE", "/v1/images/img_00000000000000000000000000", 404, "not_found"),
        ("GET", "/v1/images/img_00000000000000000000000000/bitstream", 404, "not_found"),
        ("GET", "/v1/jobs/job_00000000000000000000000000", 404, "not_found"),
        ("POST", "/v1/jobs/job_00000000000000000000000000/cancel", 404, "not_found"),
        ("GET", "/v1/jobs/job_00000000000000000000000000/events", 404, "not_found"),
        ("GET", "/v1/batches/bat_00000000000000000000000000", 404, "not_found"),
        ("POST", "/v1/batches/bat_00000000000000000000000000/cancel", 404, "not_found"),
        ("GET", "/v1/reconstructions/rec_00000000000000000000000000", 404, "not_found"),
        ("GET", "/v1/reconstructions/rec_00000000000000000000000000/content", 404, "not_found"),
        ("POST", "/v1/images/img_00000000000000000000000000/reconstructions", 404, "not_found"),
        ("GET", "/v1/images?limit=0", 400, "request_invalid"),
        ("GET", "/v1/images?limit=201", 400, "request_invalid"),
        ("GET", "/v1/images?limit=many", 400, "request_invalid"),
        ("GET", "/v1/images?limit=" + "9" * 5000, 400, "request_invalid"),
        ("GET", "/v1/images?cursor=later", 400, "request_invalid"),
        ("GET", "/v1/images?cursor=img_%00", 400, "request_invalid"),
        ("GET", "/v1/images?state=lost", 400, "request_invalid"),
        ("GET", "/v1/images?batch_id=1", 400, "request_invalid"),
        ("GET", "/v1/jobs?cursor=img_00000000000000000000000000", 400, "request_invalid"),
        ("GET", "/v1/jobs?kind=bake", 400, "request_invalid"),
        ("GET", "/web/nothing.js", 404, "not_found"),
        ("GET", "/web/endpoints.py", 404, "not_found"),
    ],
)
def test_wrong_request_gets_a_problem_document(
    client: TestClient, method: str, path: str, status: int, code: str
) -> None:
    answer = client.request(method, path)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == f"urn:misc:problem:{code}"
    assert problem["title"] == code.replace("_", " ").capitalize()
    assert problem["status"] == status
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]


def test_wrong_parameter_is_named(client: TestClient) -> None:
    problem = client.get("/v1/images?limit=0&state=lost").json()
    assert {fault["name"] for fault in problem["errors"]} == {"query.limit", "query.state"}


def test_method_that_is_not_possible_tells_those_that_are(client: TestClient) -> None:
    assert client.put("/v1/jobs").headers["allow"] == "GET"
    assert client.put("/v1/images").headers["allow"] == "GET, POST"
    assert client.put("/v1/images/img_1").headers["allow"] == "DELETE, GET"
    assert client.post("/v1/images/img_1/bitstream").headers["allow"] == "GET, HEAD"


def test_defect_is_answered_without_its_traceback(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def _break() -> None:
        raise ZeroDivisionError("the secret is 42")

    monkeypatch.setattr(services.database, "read", _break)
    # Not entered: the application runs already.
    careless = TestClient(client.app, base_url="http://localhost", raise_server_exceptions=False)
    answer = careless.get("/v1/jobs", headers={"X-Request-ID": "trace-9"})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "42" not in answer.text and "Traceback" not in answer.text
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "trace-9"


def test_every_codec_error_is_the_callers() -> None:
    for kind in _children(codec_errors.CodecError):
        assert 400 <= errors.status_of(kind("wrong")) < 500, kind


def test_every_transient_service_error_may_be_tried_again() -> None:
    statuses = {
        kind.code: errors.status_of(kind("away"))
        for kind in _children(core_errors.ServiceError)
        if kind.transient and kind is not core_errors.WorkerLost  # type: ignore[attr-defined]
    }
    assert statuses.pop("limit_reached") == 429
    assert statuses.pop("storage_full") == 507
    assert set(statuses.values()) == {503}
    assert {"storage_unavailable", "broker_unavailable", "database_unavailable"} <= set(statuses)


def test_request_id_that_could_forge_log_lines_is_replaced(client: TestClient) -> None:
    for given in ("a b", "x" * 65, "", "a\tb", "é".encode().decode("latin-1")):
        answer = client.get("/healthz", headers={"X-Request-ID": given.encode("latin-1")})  # type: ignore[dict-item]
        assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize("path", ["/v1/jobs", "/nowhere", "/healthz", "/openapi.json", "/", "/docs"])
def test_every_answer_has_the_security_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["cache-control"] == ("no-cache" if path in ("/", "/docs") else "no-store")


def test_job_error_tells_no_address_of_ours(client: TestClient, services: Services) -> None:
    job_id = client.post("/v1/probes", json={"queue": "encode"}).json()["job"]["id"]
    claim = claim_job(services.database, job_id, "w", timedelta(seconds=30))
    assert claim is not None
    with services.database.write() as session:
        transitions.fail(session, claim, "storage_unavailable", "http://misc:secret@10.0.0.7:9000 does not answer")
    answer = client.get(f"/v1/jobs/{job_id}")
    assert answer.json()["error"] == {"code": "storage_unavailable", "message": "The storage did not answer."}
    assert "10.0.0.7" not in client.get("/v1/jobs").text


def test_every_code_is_explained_to_operators() -> None:
    text = (Path(__file__).parents[3] / "docs" / "faults.md").read_text()
    codes = {kind.code for parent in (codec_errors.CodecError, core_errors.ServiceError) for kind in _children(parent)}
    assert {code for code in codes if f"`{code}`" not in text} == set()
