"""Quotas and scopes under many clients at once, and a key that is revoked while it is in use; on both databases."""

import io
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
from PIL import Image

from core.database import Database
from core.owners import keys, quotas
from core.owners.keys import NewKey
from core.owners.quotas import Limits
from core.owners.scope import Scope
from tests.integration.api.conftest import Running

_CLIENTS = 32


def _picture(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "BMP")
    return file.getvalue()


def _key(database: Database, name: str, *scopes: Scope, limits: Limits | None = None) -> str:
    with database.write() as session:
        if limits is not None:
            quotas.set_limits(session, name, limits)
        return keys.create(session, NewKey(name, name, frozenset(scopes or (Scope.READ, Scope.SUBMIT))))[1]


@contextmanager
def _client(running: Running, key: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=running.client.base_url, headers=headers, timeout=60) as client:
        yield client


def _post_when_there_is_room(client: httpx.Client, data: bytes) -> httpx.Response:
    """The answer to an upload; on a slow machine more come at once than wait for their turn."""
    while (answer := client.post("/v1/images", files={"file": ("a.bmp", data)})).status_code == 503:
        time.sleep(0.2)
    return answer


def _at_once(work: Callable[[int], list[int]]) -> list[list[int]]:
    """What each of 32 threads returns that begin together."""
    begin = threading.Barrier(_CLIENTS)

    def _run(number: int) -> list[int]:
        begin.wait()
        return work(number)

    with ThreadPoolExecutor(_CLIENTS) as pool:
        return list(pool.map(_run, range(_CLIENTS)))


def test_quotas_hold_under_32_clients(running: Running) -> None:
    database, size = running.services.database, len(_picture(0))
    owners = {
        "alice": _key(database, "alice", limits=Limits(pictures=20)),
        "carol": _key(database, "carol", limits=Limits(bytes=15 * size)),
        "bob": _key(database, "bob"),
    }
    names = list(owners)

    def _submit(number: int) -> list[int]:
        statuses = []
        with _client(running, owners[names[number % 3]]) as client:
            for turn in range(3):
                answer = _post_when_there_is_room(client, _picture(100 * number + turn))
                statuses.append(answer.status_code)
                if answer.status_code == 429:
                    assert answer.json()["code"] == "quota_reached", answer.text
                    assert int(answer.headers["retry-after"]) > 5 and ";r=0;" in answer.headers["ratelimit"]
        return statuses

    counts = {name: Counter[int]() for name in names}
    for number, statuses in enumerate(_at_once(_submit)):
        counts[names[number % 3]].update(statuses)
    assert counts == {
        "alice": Counter({202: 20, 429: 13}),
        "carol": Counter({202: 15, 429: 18}),
        "bob": Counter({202: 30}),
    }
    for name, taken in (("alice", 20), ("carol", 15), ("bob", 30)):
        with _client(running, owners[name]) as client:
            usage = client.get("/v1/usage")
            assert usage.json()["pictures"]["used"] == len(client.get("/v1/images").json()["items"]) == taken
            assert usage.json()["bytes"]["used"] == taken * size
        with database.read() as session:
            assert quotas.standing_of(session, name).usage.bytes == taken * size


def test_quota_is_told_and_a_batch_is_taken_whole_or_not(running: Running) -> None:
    key = _key(running.services.database, "alice", limits=Limits(pictures=3, bytes=10_000))
    files = [("files", (f"{number}.bmp", _picture(number))) for number in range(2)]
    with _client(running, key) as client:
        first = client.post("/v1/batches", files=files)
        assert first.status_code == 202
        assert first.headers["ratelimit-policy"] == '"pictures";q=3;w=86400, "bytes";q=10000;qu="content-bytes";w=86400'
        left = 10_000 - 2 * len(_picture(0))
        assert re.fullmatch(rf'"pictures";r=1;t=\d+, "bytes";r={left};t=\d+', first.headers["ratelimit"])
        assert client.post("/v1/batches", files=files).status_code == 429
        assert client.post("/v1/images", files={"file": ("c.bmp", _picture(9))}).status_code == 202
        again = client.post("/v1/images", files={"file": ("d.bmp", _picture(10))})
        assert (again.status_code, again.json()["code"]) == (429, "quota_reached")
        assert len(client.get("/v1/images").json()["items"]) == 3
        # Looking, fetching and deleting go on, and a deletion gives nothing back.
        assert client.delete(client.get("/v1/images").json()["items"][0]["links"]["self"]).status_code == 204
        assert client.post("/v1/images", files={"file": ("d.bmp", _picture(10))}).status_code == 429


def test_answered_request_is_repeated_when_the_quota_is_used_up(running: Running) -> None:
    key = _key(running.services.database, "alice", limits=Limits(pictures=1))
    with _client(running, key) as client:
        answers = [
            client.post("/v1/images", files={"file": ("a.bmp", _picture(1))}, headers={"Idempotency-Key": "one"})
            for _ in range(2)
        ]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[1].headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("database_settings", ["postgresql"], indirect=True)
def test_scopes_hold_under_32_clients(running: Running) -> None:
    database = running.services.database
    given = ((Scope.READ,), (Scope.SUBMIT,), (Scope.READ, Scope.SUBMIT), (Scope.ADMIN,))
    expected = ([200, 403, 403], [403, 202, 403], [200, 202, 403], [200, 202, 200])
    made = [_key(database, f"client-{number}", *given[number % 4]) for number in range(_CLIENTS)]

    def _try(number: int) -> list[int]:
        statuses = []
        with _client(running, made[number]) as client:
            for _ in range(3):
                statuses += [
                    client.get("/v1/jobs").status_code,
                    client.post("/v1/probes", json={"queue": "encode"}).status_code,
                    client.get("/metrics").status_code,
                ]
        return statuses

    for number, statuses in enumerate(_at_once(_try)):
        assert statuses == 3 * expected[number % 4], (number, statuses)


def test_revoked_key_stops_and_ends_its_event_streams(running: Running) -> None:
    database = running.services.database
    key = _key(database, "alice")
    ended = threading.Event()

    def _follow(job_id: str) -> None:
        with _client(running, key) as client, client.stream("GET", f"/v1/jobs/{job_id}/events") as stream:
            for _ in stream.iter_lines():
                pass
        ended.set()

    with _client(running, key) as client:
        job_id = client.post("/v1/probes", json={"queue": "encode"}).json()["job"]["id"]
        follower = threading.Thread(target=_follow, args=(job_id,))
        follower.start()
        time.sleep(1)
        assert not ended.is_set()
        with database.write() as session:
            keys.revoke(session, "alice")
        revoked = time.monotonic()
        while client.get(f"/v1/jobs/{job_id}").status_code == 200:
            assert time.monotonic() - revoked < 2
            time.sleep(0.02)
        assert client.get(f"/v1/jobs/{job_id}").status_code == 401
        # The server of this test looks every 0.3 s.
        assert ended.wait(5)
        follower.join()
