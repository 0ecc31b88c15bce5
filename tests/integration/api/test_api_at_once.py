"""The same request from many callers at once, and deletions in between, on both databases."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
from sqlalchemy import func, select

from codec.bitstream import PixelCoarse, Stream, pack
from models import Image, Job, Reconstruction
from models.pending_deletion import PendingDeletion
from tests.integration.api.conftest import Running

_AT_ONCE = 8


def _stream(shade: int) -> bytes:
    return pack(Stream(64, 48, PixelCoarse(columns=4, rows=3, level=3, samples=bytes([shade] * 36)))).data


def _at_once(send: Callable[[], httpx.Response]) -> list[httpx.Response]:
    """All leave the same gate; a deadlock would show as 503."""
    gate = threading.Barrier(_AT_ONCE)

    def _send(_: int) -> httpx.Response:
        gate.wait()
        return send()

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(_send, range(_AT_ONCE)))


def _count(running: Running, table: type) -> int:
    with running.services.database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_same_stream_at_once_is_one_image(running: Running) -> None:
    for shade in range(5):
        answers = _at_once(lambda shade=shade: running.client.post("/v1/bitstreams", content=_stream(shade)))  # type: ignore[misc]
        assert sorted(answer.status_code for answer in answers) == [200] * (_AT_ONCE - 1) + [201]
        assert len({answer.json()["image"]["id"] for answer in answers}) == 1
    assert (_count(running, Image), _count(running, PendingDeletion)) == (5, 0)


def test_same_order_at_once_is_one_job(running: Running) -> None:
    image = running.client.post("/v1/bitstreams", content=_stream(3)).json()["image"]["id"]
    orders = f"/v1/images/{image}/reconstructions"
    for seed in range(5):
        answers = _at_once(lambda seed=seed: running.client.post(orders, json={"seed": seed}))  # type: ignore[misc]
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.json()["job"]["id"] for answer in answers}) == 1
    assert (_count(running, Reconstruction), _count(running, Job)) == (5, 5)


def test_taking_in_while_it_is_deleted_leaves_image_and_object_or_neither(running: Running) -> None:
    turn = iter(range(1_000_000))

    def _take_or_delete() -> httpx.Response:
        answer = running.client.post("/v1/bitstreams", content=_stream(9))
        if next(turn) % 2:
            return running.client.delete(answer.json()["image"]["links"]["self"])
        return answer

    for _ in range(5):
        codes = {answer.status_code for answer in _at_once(_take_or_delete)}
        assert codes <= {200, 201, 204, 404}
        assert _count(running, Image) <= 1
