"""The page for operators in a real Chromium, over the interface in this process with a few jobs in every state."""

import os
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from api.app import create_app
from api.services import Services
from core.broker import DECODE, ENCODE, MAINTENANCE
from core.database import Database
from core.jobs import claims, transitions, workers
from core.jobs.job import JobSpec, Renewal
from core.jobs.workers import NewWorker
from core.settings import APISettings, BrokerSettings, DatabaseSettings, StorageSettings, WorkerSettings
from migrations.upgrade import upgrade
from models.base import new_id
from models.image import Image, ImageState
from models.job import JobKind
from tests.e2e.conftest import Watch
from tests.e2e.pages import CHROMIUM, NO_CHROMIUM, look, until

pytestmark = [pytest.mark.timeout(200), pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)]

_LEASE = timedelta(minutes=5)
_ENCODER, _DECODER = "encode@archive-1:8292", "decode@archive-2:77"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One encode that failed, two that run, a decode that runs, and six encodes that wait."""
    settings = DatabaseSettings(url=f"sqlite:///{tmp_path_factory.mktemp('jobs')}/misc.db")
    upgrade(settings)
    database = Database(settings)
    for _ in range(3):
        _order(database, JobKind.ENCODE, ENCODE)
    failed, *running = [claims.claim(database, ENCODE, _ENCODER, _LEASE) for _ in range(3)]
    _order(database, JobKind.DECODE, DECODE)
    running.append(claims.claim(database, DECODE, _DECODER, _LEASE))
    assert failed is not None
    with database.write() as session:
        transitions.fail(session, failed, "budget_unreachable", "The file would have 412 bytes, and max_bpp allows 19.")
    stages = zip(running, ("describe", "coarse", "restore"), (0.15, 0.62, 0.4), strict=True)
    renewals = [Renewal(claim, stage, progress) for claim, stage, progress in stages if claim is not None]
    assert len(claims.renew(database, renewals, _LEASE)) == 3
    for _ in range(6):
        _order(database, JobKind.ENCODE, ENCODE)
    for name, queues, threads, busy in (
        (_ENCODER, [ENCODE], 32, 2),
        (_DECODER, [DECODE], 4, 1),
        ("maintenance@archive-1:8295", [MAINTENANCE], 4, 0),
    ):
        workers.tell(database, NewWorker(new_id("wrk"), name, queues, threads, "0.1.0"), busy)
    yield database
    database.close()


def _order(database: Database, kind: JobKind, queue: str) -> None:
    with database.write() as session:
        image = Image(
            id=new_id("img"), name="a.png", state=ImageState.PENDING, width=10, height=10,
            media_type="image/png", options={}, description=None,
        )  # fmt: skip
        session.add(image)
        session.flush()
        transitions.create(session, JobSpec(kind, queue, image_id=image.id))


@pytest.fixture(scope="module")
def service(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the interface, which has no broker."""
    folder = tmp_path_factory.mktemp("service")
    services = Services.open(
        APISettings(),
        DatabaseSettings(url=str(database.engine.url)),
        BrokerSettings(url=f"redis+socket://{folder}/nobody-listens.sock"),
        StorageSettings(path=folder / "objects"),
        WorkerSettings(),
    )
    server = uvicorn.Server(uvicorn.Config(create_app(services), host="127.0.0.1", port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    yield f"http://{host}:{port}/"
    server.should_exit = True
    thread.join(30)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_operators_see_what_runs_and_waits_and_failed(
    browser: Any, service: str, watch: Watch, tmp_path: Path, scheme: str
) -> None:
    shots = Path(os.environ.get("MISC_SCREENSHOTS", tmp_path))
    for width in (390, 1280):
        context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
        page = watch(context.new_page(), service)
        page.goto(f"{service}?jobs")
        for rows, count in {"queues": 3, "workers": 3, "running": 3, "queued": 6, "failed": 1}.items():
            until(page, f"document.querySelectorAll('#{rows} tr').length === {count}")
        assert page.locator("#failed th span").inner_text().replace("\n", "") == "budget_unreachable"
        # What can be done with a row is within reach.
        boxes = "[...document.querySelectorAll('#operators-view .scroll')]"
        until(page, f"{boxes}.every((box) => box.scrollWidth <= box.clientWidth)")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        look(page, shots / f"jobs-{width}-{scheme}.png")
        context.close()


def test_worker_is_drained_and_a_waiting_job_cancelled_by_a_click(browser: Any, service: str, watch: Watch) -> None:
    page = watch(browser.new_page(), service)
    page.goto(f"{service}?jobs")
    page.get_by_role("button", name=f"Drain {_ENCODER}").click()
    page.get_by_role("button", name=f"Resume {_ENCODER}").wait_for()
    page.locator("#queued button").first.click()
    until(page, "document.querySelectorAll('#queued tr').length === 5")
    page.close()
