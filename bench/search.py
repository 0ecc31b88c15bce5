"""How long a search takes in an archive of many images: `python -m bench.search --url sqlite:////tmp/search.db`.

Fills an empty database with made-up descriptions in the local describer's wording, and asks for pages of 48 as the
gallery does: of the database, and of the HTTP interface, where the answer is JSON of all that is known of each image.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from fastapi.testclient import TestClient

from api.app import create_app
from api.services import Services
from codec.encode.describe.concepts import concepts
from core.archive import images
from core.database import Database
from core.owners.view import EVERYTHING
from core.settings import APISettings, BrokerSettings, DatabaseSettings, StorageSettings, WorkerSettings
from migrations.upgrade import upgrade
from models.base import new_id
from models.image import Image, ImageState

_COLOURS = ("red", "dark grey-blue", "pale yellow", "olive green", "warm grey", "black", "white", "tan")
_PLACES = ("on the left", "in the centre", "on the right", "across the bottom", "in the upper left")
_QUERIES = ("macaw", "red macaw right", "mac", "image", "the image shows", "i", "a", "unicorn", "red dog bottom", "42")
_AT_ONCE = 500
_PAGE = 48


def main() -> None:
    """Fill, ask, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.search", description=__doc__)
    parser.add_argument("--url", required=True, help="an empty database, as in MISC_DATABASE_URL")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--times", type=int, default=20)
    arguments = parser.parse_args()
    settings = DatabaseSettings(url=arguments.url)
    upgrade(settings)
    database = Database(settings)
    started = time.perf_counter()
    _fill(database, arguments.images)
    print(f"{arguments.images} images in {time.perf_counter() - started:.1f} s")
    with tempfile.TemporaryDirectory() as folder, open_client(settings, Path(folder)) as client:
        for query in _QUERIES:
            of_database = [_seconds(lambda: _list(database, query)) for _ in range(arguments.times)]  # noqa: B023
            of_interface = [_seconds(lambda: _fetch(client, query)) for _ in range(arguments.times)]  # noqa: B023
            found = _fetch(client, query)
            print(f"{query!r:20} {found:3} on the page, database {_words(of_database)}, HTTP {_words(of_interface)}")
    database.close()


def _list(database: Database, query: str) -> None:
    with database.read() as session:
        images.list_images(session, EVERYTHING, limit=_PAGE, words=query)


def _fetch(client: TestClient, query: str) -> int:
    answer = client.get("/v1/images", params={"q": query, "limit": _PAGE})
    answer.raise_for_status()
    return len(answer.json()["items"])


def _seconds(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def _words(seconds: Sequence[float]) -> str:
    return f"median {statistics.median(seconds) * 1000:6.1f} ms, most {max(seconds) * 1000:6.1f} ms"


def open_client(settings: DatabaseSettings, folder: Path) -> TestClient:
    """The interface in this process, over the same database, without a broker."""
    services = Services.open(
        APISettings(),
        settings,
        BrokerSettings(url=f"redis+socket://{folder}/nobody-listens.sock"),
        StorageSettings(path=folder / "objects"),
        WorkerSettings(),
    )
    return TestClient(create_app(services), base_url="http://localhost")


def _fill(database: Database, count: int) -> None:
    draw = random.Random(1)
    words = [concept.word for concept in concepts()]
    for start in range(0, count, _AT_ONCE):
        with database.write() as session:
            rows = [
                Image(
                    id=new_id("img"), name=f"IMG_{number:05}.jpg", state=ImageState.READY, width=768, height=512,
                    media_type="image/jpeg", options={}, description=None,
                )
                for number in range(start, min(count, start + _AT_ONCE))
            ]  # fmt: skip
            session.add_all(rows)
            session.flush()
            for image in rows:
                images.record_description(session, image, "local", _description(draw, words))


def _description(draw: random.Random, words: list[str]) -> dict[str, object]:
    things = [(draw.choice(_COLOURS), draw.choice(words), draw.choice(_PLACES)) for _ in range(3)]
    items = [{"name": f"{colour} {word}", "detail": f"{colour} {word} {place}"} for colour, word, place in things]
    listed = " and ".join(f"a {colour} {word}" for colour, word, _ in things)
    overall = (
        f"The image shows {listed}, in a medium-bright picture with strong contrast and rich colours, mainly "
        f"{things[0][0]}. The {things[0][1]} {things[0][2]} takes up about a third of the frame, with the "
        f"{things[1][1]} {things[1][2]}. Detail is moderate throughout."
    )
    return {"items": items, "overall": overall}


if __name__ == "__main__":
    main()
