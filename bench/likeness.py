"""How long it takes to find what looks like a picture among many: `python -m bench.likeness --url sqlite:////tmp/a.db`.

Fills an empty database with images of random perceptual hashes, every tenth of them near the one before, and asks the
HTTP interface for what looks like some of them.
"""

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path

from sqlalchemy import insert

from bench.search import open_client
from core.database import Database
from core.settings import DatabaseSettings
from migrations.upgrade import upgrade
from models.base import new_id
from models.image import Image, ImageState

_AT_ONCE = 1_000


def main() -> None:
    """Fill, ask, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.likeness", description=__doc__)
    parser.add_argument("--url", required=True, help="an empty database, as in MISC_DATABASE_URL")
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=100)
    arguments = parser.parse_args()
    settings = DatabaseSettings(url=arguments.url)
    upgrade(settings)
    database = Database(settings)
    ids = _fill(database, arguments.images)
    seconds, found = [], 0
    with tempfile.TemporaryDirectory() as folder, open_client(settings, Path(folder)) as client:
        for image_id in random.Random(2).choices(ids, k=arguments.times):
            started = time.perf_counter()
            answer = client.get(f"/v1/images/{image_id}/similar")
            seconds.append(time.perf_counter() - started)
            found += len(answer.json()["items"])
    database.close()
    print(
        f"{arguments.images} images, {arguments.times} questions, {found} found: median "
        f"{statistics.median(seconds) * 1000:.1f} ms, most {max(seconds) * 1000:.1f} ms"
    )


def _fill(database: Database, count: int) -> list[str]:
    draw, before, ids = random.Random(1), 0, []
    for start in range(0, count, _AT_ONCE):
        rows = []
        for number in range(start, min(count, start + _AT_ONCE)):
            before = before ^ (1 << draw.randrange(63)) if number % 10 == 1 else draw.randrange(-(2**63), 2**63)
            ids.append(new_id("img"))
            rows.append(
                {
                    "id": ids[-1], "name": f"IMG_{number:06}.jpg", "state": ImageState.READY, "width": 768,
                    "height": 512, "media_type": "image/jpeg", "options": {}, "perceptual_hash": before,
                }
            )  # fmt: skip
        with database.write() as session:
            session.execute(insert(Image), rows)
    return ids


if __name__ == "__main__":
    main()
