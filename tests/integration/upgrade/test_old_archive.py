"""An archive of a3fcfc8, with jobs in every state, is migrated, served and finished by the processes of today."""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from tests.integration.upgrade.conftest import AGE, OldArchive, wait_for
from tests.lmm_server.server import LMMTestServer
from tests.lmm_server.state import Batch
from tests.upgrade.answers import answers_of, pages

pytestmark = pytest.mark.timeout(600)

_BILLION = 1_000_000_000
_LOT_RESERVED = 2_269_000
"""Billionths of the currency that one request through the Batch API costs at most."""

_FINAL = ("succeeded", "failed", "cancelled")


@pytest.fixture
def lmm_server(old_archive: OldArchive) -> Iterator[LMMTestServer]:
    """The language model's server with all that it had; its open batch ends when it is looked at twice."""
    with LMMTestServer() as server:
        server.state.files |= {name: text.encode() for name, text in old_archive.model["files"].items()}
        server.state.batches |= {name: Batch(values, 1) for name, values in old_archive.model["batches"].items()}
        server.state.numbers = itertools.count(1000)
        yield server


def _settings(server: LMMTestServer) -> dict[str, str]:
    """Those that the archive was filled with."""
    return {
        "MISC_LMM_BASE_URL": server.base_url,
        "MISC_LMM_MODEL": "played",
        "MISC_LMM_PRICE_INPUT": "2",
        "MISC_LMM_PRICE_OUTPUT": "8",
        "MISC_LMM_SPENDING_CAP": "5",
        "MISC_LMM_SPENDING_PERIOD": "ever",
        "MISC_LMM_BATCH_GATHER_COUNT": "1",
        "MISC_LMM_BATCH_POLL": "1",
    }


def _changes(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """What is missing or different in a new answer; it may say more than the old one did."""
    if isinstance(old, dict) and isinstance(new, dict):
        # How many wait before a job depends on the moment.
        for name, value in ((name, value) for name, value in old.items() if name != "queue_position"):
            yield from _changes(value, new.get(name, "(missing)"), f"{where}.{name}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, pair in enumerate(zip(old, new, strict=True)):
            yield from _changes(*pair, f"{where}[{number}]")
    elif where.endswith("_at") and old and new:
        if datetime.fromisoformat(old) != datetime.fromisoformat(new):
            yield f"{where}: {old} -> {new}"
    elif old != new:
        yield f"{where}: {old!r} -> {new!r}"


def _by_id(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in rows}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_migrated_archive_answers_as_it_did(old_archive: OldArchive) -> None:
    old_archive.migrate()
    old, ids = old_archive.answers, old_archive.ids
    with old_archive.api() as client:
        new = answers_of(client)
        assert len(new["images"]) == 20
        # The text of a fault of the store's named the operator's folder, which callers do not get to read any more.
        changes = [change for change in _changes(old, new) if not change.endswith("-> 'The storage did not answer.'")]
        assert changes == []
        assert not any(str(old_archive.folder) in str(job["error"]) for job in new["jobs"])
        for image in new["images"]:
            if image["state"] == "ready":
                stream = client.head(f"/v1/images/{image['id']}/bitstream")
                assert stream.headers["etag"] == f'"{image["bitstream_sha256"]}"'

        # Requests whose answers are kept are answered again, and do nothing twice.
        original = client.get(f"/v1/images/{ids['ref']}/original").content
        again = client.post(
            "/v1/images",
            files={"file": ("astronaut.png", original)},
            data={"options": '{"keep_original": true, "mode": "ref"}'},
            headers={"Idempotency-Key": "picture-1"},
        )
        assert (again.status_code, again.json()["image"]["id"]) == (202, ids["ref"]), again.text
        reconstructions = f"/v1/images/{ids['ref']}/reconstructions"
        again = client.post(reconstructions, json={"format": "webp"}, headers={"Idempotency-Key": "paint-1"})
        assert again.status_code == 202 and again.headers["idempotency-replayed"] == "true"
        assert again.json()["reconstruction"]["id"] in _by_id(old["reconstructions"])
        # One whose answer was never given belonged to a process that died.
        order = {"format": "webp", "restorer": "diffusion"}
        lost = client.post(reconstructions, json=order, headers={"Idempotency-Key": "huge-1"})
        assert lost.status_code == 200 and "idempotency-replayed" not in lost.headers, lost.text
        assert lost.json()["reconstruction"]["id"] == again.json()["reconstruction"]["id"]
        assert len(list(pages(client, "/v1/images"))) == 20


def test_open_jobs_are_finished_and_nothing_is_lost_or_left(old_archive: OldArchive, lmm_server: LMMTestServer) -> None:
    old, ids = old_archive.answers, old_archive.ids
    spent, reserved = _money(old_archive)
    old_archive.migrate()
    old_archive.fetch_networks()
    with old_archive.service(_settings(lmm_server)) as client:
        wait_for(lambda: _all_ended(client), 300, "every job ends")
        new = answers_of(client)
    jobs, images = _by_id(new["jobs"]), _by_id(new["images"])

    # What had ended is as it was.
    for before in old["jobs"]:
        if before["state"] in _FINAL:
            assert list(_changes(before, jobs[before["id"]])) == []
    assert list(images) == [image["id"] for image in old["images"]]
    for before in old["images"]:
        if before["state"] != "pending":
            after = images[before["id"]]
            own = {name: value for name, value in before.items() if name not in ("job", "reconstructions")}
            assert list(_changes(own, after)) == []

    # What waited or ran was done by the workers of today. An attempt whose worker vanished counts for those only that
    # are known to have been at work in it.
    ended = {name: images[image_id] for name, image_id in ids.items() if image_id in images}
    outcomes = {
        name: (ended[name]["state"], ended[name]["job"]["state"], ended[name]["job"]["attempts"])
        for name in ("queued", "retried", "encoding", "sent", "waiting", "asking", "cancelled", "failed")
    }
    assert outcomes == {
        "queued": ("ready", "succeeded", 1),
        "retried": ("ready", "succeeded", 2),
        "encoding": ("ready", "succeeded", 1),
        "sent": ("ready", "succeeded", 1),
        "waiting": ("ready", "succeeded", 1),
        "asking": ("cancelled", "cancelled", 0),
        "cancelled": ("cancelled", "cancelled", 0),
        "failed": ("failed", "failed", 1),
    }
    decoded = Counter(
        (before["state"], jobs[before["id"]]["state"], jobs[before["id"]]["attempts"])
        for before in old["jobs"]
        if before["kind"] == "decode" and before["state"] in ("queued", "running")
    )
    assert decoded == {("queued", "succeeded", 1): 2, ("running", "succeeded", 1): 1}
    batches = {batch["name"]: (batch["total"], +Counter(batch["counts"])) for batch in new["batches"]}
    assert batches == {"cats": (2, {"succeeded": 2}), "evening": (5, {"succeeded": 4, "cancelled": 1})}
    assert all(batch["is_done"] for batch in new["batches"])

    # The lot under way brought its answer, another one was sent for the request that waited: nobody paid twice.
    assert lmm_server.asked() == []
    created = [entry for entry in lmm_server.asked("/v1/batches") if entry["method"] == "POST"]
    assert len(created) == 1
    for name in ("sent", "waiting"):
        assert ended[name]["description"]["describer"] == "openai"
        assert ended[name]["usage"]["cached"] is False
    costs = [round(ended[name]["usage"]["cost"] * _BILLION) for name in ("sent", "waiting")]
    # What was set aside for the lot is settled; what a killed worker had set aside for its own request stays so.
    assert _money(old_archive) == (spent + sum(costs), reserved - _LOT_RESERVED)

    # Every stream and picture is served with its digest, those that were there before with the one of then.
    for image in new["images"]:
        if image["state"] == "ready":
            assert new["content_sha256"][image["links"]["bitstream"]] == image["bitstream_sha256"]
    for row in new["reconstructions"]:
        if row["state"] == "ready":
            assert new["content_sha256"][row["links"]["content"]] == row["sha256"]
    states = Counter(row["state"] for row in new["reconstructions"])
    assert states == {"ready": 9, "failed": 1, "cancelled": 1}
    gone = {path for path in old["content_sha256"] if path not in new["content_sha256"]}
    encoded = ("queued", "retried", "encoding", "sent", "waiting")
    assert gone == {f"/v1/images/{ids[name]}/original" for name in encoded}
    assert list(_changes({path: old["content_sha256"][path] for path in old["content_sha256"].keys() - gone},
                         new["content_sha256"])) == []  # fmt: skip

    # Once every reservation is over, storage has what the archive names and nothing else.
    old_archive.grow_older(AGE)
    needed = _needed(old_archive, new)
    old_archive.fetch_networks()
    with old_archive.service(_settings(lmm_server)) as client:
        wait_for(lambda: len(old_archive.objects) <= needed.total(), 60, "what is loose is swept")
        assert Counter(map(_sha256, old_archive.objects)) == needed
        ready = sum(image["state"] == "ready" for image in new["images"])
        wait_for(lambda: len(old_archive.records) == ready, 60, "every image has its record")
        assert _catalogue(old_archive) == needed
        assert answers_of(client)["content_sha256"] == new["content_sha256"]


def test_migration_catalogues_every_object_that_is_not_loose(old_archive: OldArchive) -> None:
    with old_archive.engine() as engine, engine.connect() as connection:
        loose = {key.rpartition("/")[2] for key in connection.scalars(text("SELECT key FROM loose_objects"))}
    old_archive.migrate()
    files = [path for path in old_archive.objects if path.name not in loose]
    assert (len(files), len(loose)) == (len(old_archive.objects) - 4, 4)
    assert _catalogue(old_archive) == Counter(map(_sha256, files))


def _all_ended(client: httpx.Client) -> bool:
    return all(not list(pages(client, "/v1/jobs", state=state)) for state in ("queued", "running"))


def _money(archive: OldArchive) -> tuple[int, int]:
    """Spent and set aside, in billionths."""
    with archive.engine() as engine, engine.connect() as connection:
        ((spent, reserved),) = connection.execute(text("SELECT spent, reserved FROM spending")).all()
    return int(spent), int(reserved)


def _catalogue(archive: OldArchive) -> Counter[str]:
    """SHA-256 of every object that storage should have, but records."""
    with archive.engine() as engine, engine.connect() as connection:
        return Counter(connection.scalars(text("SELECT sha256 FROM stored_objects WHERE kind <> 'record'")))


def _needed(archive: OldArchive, answers: dict[str, Any]) -> Counter[str]:
    """SHA-256 of every object that the archive names; streams and pictures are shared, originals are not."""
    images = answers["images"]
    shared = {image["bitstream_sha256"] for image in images} | {row["sha256"] for row in answers["reconstructions"]}
    references = {path.stem for path in archive.objects if "references" in path.parts}
    originals = [image["original"]["sha256"] for image in images if image["links"]["original"] is not None]
    assert len(references) == 1
    return Counter((shared - {None}) | references) + Counter(originals)
