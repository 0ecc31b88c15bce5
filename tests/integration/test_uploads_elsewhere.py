"""Two hundred uploads behind PgBouncer in transaction mode and a Redis with TLS and a password: none fails."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.services import Services
from core.broker import ENCODE
from core.picture_reader import DirectPictureReader
from core.settings import APISettings, BrokerSettings, DatabaseSettings, StorageSettings, WorkerSettings
from migrations.upgrade import upgrade
from tests.integration.conftest import new_postgres_database
from tests.integration.test_databases_elsewhere import pooled, pooler
from tests.integration.test_redis_elsewhere import TLSProxy, proxy
from tests.unit.api.samples import picture

__all__ = ["proxy"]


def test_two_hundred_uploads_are_taken_and_announced(postgres_url: str, proxy: TLSProxy, tmp_path: Path) -> None:
    pooler()
    (tmp_path / "pooler").mkdir()
    with new_postgres_database(postgres_url) as url, pooled(url, tmp_path / "pooler") as behind:
        database = DatabaseSettings(url=behind)
        upgrade(database)
        broker = BrokerSettings(url=proxy.url(ssl_ca_certs=str(proxy.certificate)))
        services = Services.open(
            APISettings(), database, broker, StorageSettings(path=tmp_path / "objects"), WorkerSettings()
        )
        services = replace(services, pictures=DirectPictureReader())
        with TestClient(create_app(services), base_url="http://localhost") as client:
            ready = client.get("/readyz").json()
            assert ready == {"status": "ready", "failed": {}, "degraded": []}

            def upload(number: int) -> int:
                return client.post(
                    "/v1/images",
                    files={"file": (f"{number}.png", picture(number), "image/png")},
                    headers={"Idempotency-Key": f"upload-{number}"},
                ).status_code

            with ThreadPoolExecutor(8) as threads:
                assert list(threads.map(upload, range(200))) == [202] * 200
            pages = client.get("/v1/images", params={"limit": 200}).json()
            assert len(pages["items"]) == 200
            services.outbox_sender.close()
            assert services.broker.waiting(ENCODE) == 200


@pytest.mark.parametrize("revision", ["ffffffffffff", "2ba56a7bf05f"])
def test_readiness_knows_the_revision_of_the_schema(tmp_path: Path, revision: str) -> None:
    from sqlalchemy import text

    settings = DatabaseSettings(url=f"sqlite:///{tmp_path}/misc.db")
    upgrade(settings)
    broker = BrokerSettings(url=f"redis+socket://{tmp_path}/nobody.sock")
    services = Services.open(
        APISettings(), settings, broker, StorageSettings(path=tmp_path / "objects"), WorkerSettings()
    )
    with services.database.connection() as connection:
        connection.execute(text(f"UPDATE alembic_version SET version_num = '{revision}'"))
    with TestClient(create_app(services), base_url="http://localhost") as client:
        answer = client.get("/readyz")
    code = "database_newer" if revision == "ffffffffffff" else "database_not_migrated"
    assert (answer.status_code, answer.json()["failed"]) == (503, {"database": code})
