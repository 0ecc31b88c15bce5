"""What operators and their tools ask, and the pages."""

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from api.services import Services
from core.errors import StorageUnavailable
from tests.unit.api.samples import submit

WEB = Path(__file__).parents[3] / "api" / "web"


def test_process_is_alive(client: TestClient) -> None:
    assert client.get("/healthz").json()["status"] == "ok"


def test_service_is_ready_but_degraded_without_redis(client: TestClient) -> None:
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready", "failed": {}, "degraded": ["broker"]})


def test_service_without_tables_is_not_ready(client: TestClient, services: Services) -> None:
    with services.database.write() as session:
        session.execute(text("DROP TABLE alembic_version"))
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["failed"]) == (503, {"database": "database_not_migrated"})


def test_database_that_lacks_a_new_column_is_not_ready(client: TestClient, services: Services) -> None:
    with services.database.write() as session:
        session.execute(text("ALTER TABLE loose_objects DROP COLUMN blocked_until"))
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["failed"]) == (503, {"database": "database_not_migrated"})


def test_service_without_storage_is_not_ready(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def _fail() -> None:
        raise StorageUnavailable("the disk is full")

    monkeypatch.setattr(services.storage, "check", _fail)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["failed"]) == (503, {"storage": "storage_unavailable"})


def test_metrics_count_requests_by_template_and_jobs_by_queue(client: TestClient) -> None:
    image = submit(client)["image"]["id"]
    client.get(f"/v1/images/{image}")
    client.get("/v1/images/img_00000000000000000000000000")
    client.get("/nowhere/at/all")
    figures = client.get("/metrics").text
    assert 'misc_jobs_open{queue="encode",state="queued"} 1.0' in figures
    assert 'misc_jobs_open{queue="decode",state="running"} 0.0' in figures
    assert "misc_outbox_rows 1.0" in figures
    assert 'misc_stored_objects{kind="original"} 1.0' in figures
    assert 'misc_workers{queue="decode",state="alive"} 0.0' in figures
    [oldest] = re.findall(r'misc_jobs_oldest_due_seconds\{queue="encode"\} (\S+)', figures)
    assert 0 <= float(oldest) < 100
    assert 'misc_http_requests_total{method="GET",route="/v1/images/{image_id}",status="200"} 1.0' in figures
    assert 'misc_http_requests_total{method="GET",route="/v1/images/{image_id}",status="404"} 1.0' in figures
    assert 'misc_http_requests_total{method="POST",route="/v1/images",status="202"} 1.0' in figures
    assert image not in figures and "nowhere" not in figures


def test_unknown_method_makes_no_new_figure(client: TestClient) -> None:
    client.request("BREW", "/v1/images")
    assert "BREW" not in client.get("/metrics").text


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_page_may_load_nothing_from_elsewhere(client: TestClient, path: str) -> None:
    answer = client.get(path)
    policy = answer.headers["content-security-policy"]
    assert answer.headers["content-type"].startswith("text/html")
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy and "http" not in policy
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", answer.text)
    for part in re.findall(r'(?:src|href)="(web/[^"]+)"', answer.text):
        assert client.get(f"/{part}").status_code == 200


def test_page_asks_for_no_mode_and_for_a_rate_only_where_one_is_chosen(client: TestClient) -> None:
    page = client.get("/").text
    assert re.findall(r'name="rate" value="(\w*)"( checked)?', page) == [("1", ""), ("2", ""), ("", " checked")]
    script = client.get("/web/intake.js").text
    assert 'if (rate !== "") chosen.rate' in script
    assert "mode:" not in script


def test_every_script_and_style_is_served_and_small(client: TestClient) -> None:
    paths = [path for path in WEB.iterdir() if path.suffix in (".css", ".js", ".svg")]
    sizes = [len(client.get(f"/web/{path.name}").content) for path in paths]
    assert sizes == [path.stat().st_size for path in paths]
    assert sum(sizes) + len(client.get("/").content) < 120_000


def test_scripts_name_no_other_host_and_write_no_markup() -> None:
    for path in [*WEB.glob("*.js"), *WEB.glob("*.css")]:
        content = path.read_text()
        assert not re.search(r"https?://", content), path
        assert "innerHTML" not in content and "eval(" not in content, path


def test_interface_describes_every_call_with_its_errors(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    calls = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert {
        ("post", "/v1/images"),
        ("get", "/v1/images"),
        ("get", "/v1/images/{image_id}"),
        ("delete", "/v1/images/{image_id}"),
        ("get", "/v1/images/{image_id}/bitstream"),
        ("get", "/v1/images/{image_id}/original"),
        ("get", "/v1/images/{image_id}/thumbnail"),
        ("get", "/v1/images/{image_id}/avif"),
        ("get", "/v1/images/{image_id}/similar"),
        ("get", "/v1/images.zip"),
        ("post", "/v1/bitstreams"),
        ("post", "/v1/images/{image_id}/reconstructions"),
        ("get", "/v1/reconstructions/{reconstruction_id}"),
        ("delete", "/v1/reconstructions/{reconstruction_id}"),
        ("patch", "/v1/batches/{batch_id}"),
        ("post", "/v1/webhooks"),
        ("get", "/v1/webhooks"),
        ("get", "/v1/webhooks/{webhook_id}"),
        ("delete", "/v1/webhooks/{webhook_id}"),
        ("get", "/v1/webhooks/{webhook_id}/messages"),
        ("post", "/v1/webhooks/{webhook_id}/messages/{message_id}/replay"),
        ("get", "/v1/batches/{batch_id}/events"),
        ("get", "/v1/batches/{batch_id}/manifest"),
        ("get", "/v1/batches/{batch_id}/report"),
        ("get", "/v1/reconstructions/{reconstruction_id}/content"),
        ("post", "/v1/batches"),
        ("get", "/v1/batches"),
        ("get", "/v1/batches/{batch_id}"),
        ("post", "/v1/batches/{batch_id}/cancel"),
        ("get", "/v1/jobs"),
        ("get", "/v1/jobs/{job_id}"),
        ("post", "/v1/jobs/{job_id}/cancel"),
        ("post", "/v1/jobs/{job_id}/retry"),
        ("post", "/v1/jobs/retry"),
        ("get", "/v1/jobs/{job_id}/events"),
        ("post", "/v1/probes"),
        ("get", "/v1/usage"),
        ("get", "/v1/workers"),
        ("post", "/v1/workers/{worker_id}/drain"),
        ("post", "/v1/workers/{worker_id}/resume"),
        ("get", "/healthz"),
        ("get", "/readyz"),
        ("get", "/metrics"),
    } == calls
    for path, methods in document["paths"].items():
        for method, details in methods.items():
            assert details["summary"] and len(details["description"]) > 20, (method, path)
            assert "application/problem+json" in details["responses"]["default"]["content"], (method, path)
    form = document["paths"]["/v1/images"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["options"]["properties"]["blocks"]["maximum"] == 256
    assert "$ref" not in str(form)
    assert "code" in document["components"]["schemas"]["Problem"]["properties"]
