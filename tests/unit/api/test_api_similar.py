"""Images that look alike: found by the caller's own, nearest first."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert, text, update
from typer.testing import CliRunner

from cli.commands import ls
from cli.main import build_app
from core.archive import likeness
from core.database import Database
from core.owners.view import EVERYTHING, View
from models.base import new_id
from models.image import BANDS, Image
from tests.unit.api.samples import picture, submit
from tests.unit.api.test_api_metadata import _Inside

HASH = 0x0123456789ABCDEF


def add(client: TestClient, database: Database, hashed: int | None, owner: str = "default") -> str:
    image_id: str = submit(client, picture(abs(hash((hashed, owner))) % 1000))["image"]["id"]
    with database.write() as session:
        values = {"perceptual_hash": hashed, "owner": owner}
        session.execute(update(Image).where(Image.id == image_id).values(values))
    return image_id


def test_nearest_come_first_and_only_the_callers_own(client: TestClient, database: Database) -> None:
    one, far, near, same = (add(client, database, HASH ^ bits) for bits in (0, 0b1111, 0b10011 << 30, 1 << 5))
    others = add(client, database, HASH, "alice")
    answer = client.get(f"/v1/images/{one}/similar").json()
    assert answer["perceptual_hash"] == "0123456789abcdef"
    found = [(item["distance"], item["image"]["id"]) for item in answer["items"]]
    # The caller of the settings' key sees all.
    assert found == [(0, others), (1, same), (3, near)] and far not in json.dumps(answer)
    assert len(client.get(f"/v1/images/{one}/similar?limit=1").json()["items"]) == 1
    with database.read() as session:
        assert [bits for bits, _ in likeness.similar(session, HASH, View("default"), besides=one, limit=9)] == [1, 3]


def test_every_pair_within_three_bits_is_found(client: TestClient, database: Database) -> None:
    one = add(client, database, -1)
    changes = [(1 << a) | (1 << b) | (1 << c) for a, b, c in ((0, 17, 34), (15, 31, 47), (16, 32, 63), (0, 1, 2))]
    ids = set()
    for change in changes:
        value = (2**64 - 1) ^ change
        ids.add(add(client, database, value - 2**64 if value >= 2**63 else value))
    found = client.get(f"/v1/images/{one}/similar").json()["items"]
    assert {item["image"]["id"] for item in found} == ids and {item["distance"] for item in found} == {3}


def test_image_without_a_hash_is_like_none(client: TestClient, database: Database) -> None:
    add(client, database, None)
    one = add(client, database, None)
    assert client.get(f"/v1/images/{one}/similar").json() == {"perceptual_hash": None, "items": []}
    assert client.get(f"/v1/images/{new_id('img')}/similar").status_code == 404


def test_index_serves_the_look_up(client: TestClient, database: Database) -> None:
    with database.read() as session:
        for number, band in enumerate(BANDS.values()):
            query = text(f"EXPLAIN QUERY PLAN SELECT id FROM images WHERE {band} = :value")
            plan = session.execute(query, {"value": 5})
            assert f"ix_images_likeness_{number}" in str(plan.all())


def test_hundred_even_pictures_are_listed_up_to_the_limit(client: TestClient, database: Database) -> None:
    one = add(client, database, 0)
    with database.write() as session:
        rows: list[dict[str, Any]] = [
            {"id": new_id("img"), "name": "a", "width": 1, "height": 1, "media_type": "image/png", "options": {}}
            | {"perceptual_hash": 0}
            for _ in range(100)
        ]
        session.execute(insert(Image), rows)
    with database.read() as session:
        assert len(likeness.similar(session, 0, EVERYTHING, besides=one, limit=50)) == 50


def test_command_lists_them(client: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = add(client, database, HASH), add(client, database, HASH ^ 1)
    monkeypatch.setattr(ls, "connected", lambda *_: _Inside(client))
    listed = CliRunner().invoke(build_app(), ["ls", "--similar", one, "--json"])
    assert listed.exit_code == 0, listed.output
    # What the application logs in this process stands in front.
    (row,) = json.loads(listed.stdout[listed.stdout.index("{") :])["images"]
    assert (row["id"], row["distance"]) == (other, 1)
    assert CliRunner().invoke(build_app(), ["ls", "--similar", one, "--search", "boat"]).exit_code == 2
