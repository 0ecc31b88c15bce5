"""How long a search takes in an archive of many images: `python -m bench.search --url sqlite:////tmp/search.db`.

Fills an empty database with made-up descriptions in the local describer's wording, and asks for pages of 50.
"""

import argparse
import random
import statistics
import time

from codec.encode.describe.concepts import concepts
from core.archive import images
from core.database import Database
from core.owners.view import EVERYTHING
from core.settings import DatabaseSettings
from migrations.upgrade import upgrade
from models.base import new_id
from models.image import Image, ImageState

_COLOURS = ("red", "dark grey-blue", "pale yellow", "olive green", "warm grey", "black", "white", "tan")
_PLACES = ("on the left", "in the centre", "on the right", "across the bottom", "in the upper left")
_QUERIES = ("macaw", "red macaw right", "mac", "image", "the image shows", "i", "a", "unicorn", "red dog bottom", "42")
_AT_ONCE = 500


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
    for query in _QUERIES:
        seconds = []
        for _ in range(arguments.times):
            started = time.perf_counter()
            with database.read() as session:
                found = images.list_images(session, EVERYTHING, limit=50, words=query)
            seconds.append(time.perf_counter() - started)
        print(
            f"{query!r:20} {len(found.rows):3} on the page, median {statistics.median(seconds) * 1000:6.1f} ms, "
            f"most {max(seconds) * 1000:6.1f} ms"
        )
    database.close()


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
