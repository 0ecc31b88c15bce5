"""`misc push`, `pull`, `ls` and `jobs` against a running service, as somebody with a folder of photos uses them."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cli.commands.demo import isolated_environment
from cli.up.stack import EmbeddedStack
from codec.bitstream import unpack
from misc_archive import AsyncClient, Client, ClientError, CodecError, StoredImage, decode

pytestmark = pytest.mark.timeout(240)

Misc = Callable[..., dict[str, Any]]

PIXEL, SMOOTH = ("--mode", "pixel"), ("--restorer", "smooth")
"""The quickest there and back: these tests are about what is sent and fetched, and when."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    data = tmp_path_factory.mktemp("stack") / "data"
    with EmbeddedStack(data, 0, environment=isolated_environment(os.environ)) as stack:
        stack.wait_ready()
        yield stack


@pytest.fixture
def misc(stack: EmbeddedStack, tmp_path: Path) -> Misc:
    environment = isolated_environment(os.environ) | {
        "MISC_SERVER": stack.base_url,
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }

    def _run(*arguments: object, status: int = 0) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *map(str, arguments), "--json"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == status, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    return _run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures, one of them below and one hidden."""
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    for seed, name in enumerate(("a.png", "trip/b.jpg", ".hidden.png")):
        noise = np.random.default_rng([seed, hash(str(tmp_path)) % 1000]).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((64, 48), Image.Resampling.BICUBIC).save(folder / name)
    return folder


def test_folder_goes_there_once_and_comes_back(misc: Misc, folder: Path, tmp_path: Path) -> None:
    first = misc("push", folder, *PIXEL)["results"]
    assert [Path(result["input"]).name for result in first] == ["a.png", "b.jpg"]
    assert all(result["state"] == "ready" and not result["skipped"] for result in first)

    second = misc("push", folder, *PIXEL)["results"]
    assert all(result["skipped"] for result in second)
    assert [result["image"] for result in second] == [result["image"] for result in first]

    ids = [result["image"] for result in first]
    pulled = misc("pull", *ids, "-o", tmp_path / "back", *SMOOTH)["results"]
    for result in pulled:
        with Image.open(result["output"]) as picture:
            assert picture.size == (64, 48)
    assert all(result["skipped"] for result in misc("pull", *ids, "-o", tmp_path / "back", *SMOOTH)["results"])

    streams = misc("pull", *ids, "-o", tmp_path / "streams", "--bitstream")["results"]
    for pushed, result in zip(first, streams, strict=True):
        data = Path(result["output"]).read_bytes()
        assert len(data) == pushed["bytes"]
        assert unpack(data).stream.width == 64


def test_streams_are_taken_in_and_come_back_as_they_were(misc: Misc, folder: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    misc("encode", folder, "-o", archive, *PIXEL, "--describe", "none")
    streams = sorted(archive.rglob("*.misc"))

    first = misc("push", archive)["results"]
    assert [(result["state"], result["skipped"]) for result in first] == [("ready", False)] * len(streams)
    assert all(result["skipped"] for result in misc("push", archive)["results"])

    pulled = misc("pull", *[result["image"] for result in first], "-o", tmp_path / "back", "--bitstream")["results"]
    assert [Path(result["output"]).read_bytes() for result in pulled] == [path.read_bytes() for path in streams]


def test_other_options_are_another_push(misc: Misc, folder: Path) -> None:
    first = misc("push", folder / "a.png", *PIXEL)["results"][0]

    other = misc("push", folder / "a.png", *PIXEL, "--describe", "none", "--blocks", 8)["results"][0]

    assert not other["skipped"]
    assert other["image"] != first["image"]
    assert other["bytes"] < first["bytes"]


def test_deleted_image_is_sent_again(misc: Misc, folder: Path, stack: EmbeddedStack) -> None:
    import httpx

    first = misc("push", folder / "a.png", *PIXEL)["results"][0]
    httpx.delete(f"{stack.base_url}/v1/images/{first['image']}").raise_for_status()

    again = misc("push", folder / "a.png", *PIXEL)["results"][0]

    assert not again["skipped"]
    assert again["state"] == "ready"
    assert again["image"] != first["image"]


def test_batch_is_filled_by_its_name(misc: Misc, folder: Path) -> None:
    name = f"holiday-{folder.parent.name}"
    misc("push", folder / "a.png", *PIXEL, "--batch", name)
    misc("push", folder / "trip", *PIXEL, "--batch", name)

    images = {image["name"]: image["batch_id"] for image in misc("ls", "--limit", 2)["images"]}

    assert set(images) == {"a.png", "b.jpg"}
    assert len(set(images.values())) == 1
    batch = images["a.png"]
    assert len(misc("ls", "--batch", batch)["images"]) == 2


def test_descriptions_from_a_file_are_kept_exactly(misc: Misc, folder: Path) -> None:
    captions = folder.parent / "captions.json"
    items = [{"name": f"thing {number}", "detail": f"detail {number}"} for number in range(3)]
    captions.write_text(json.dumps([{"file": "a.png", "items": items, "overall": "Ein Bild, genau so."}]))

    results = misc("push", folder, *PIXEL, "--describe", captions, status=1)["results"]

    assert results[0]["error"] is None
    assert results[1]["error"]["code"] == "captions_invalid"
    image = next(image for image in misc("ls")["images"] if image["id"] == results[0]["image"])
    assert image["description"]["overall"] == "Ein Bild, genau so."
    assert image["description"]["items"] == items


def test_jobs_are_listed_followed_and_cancelled(misc: Misc, folder: Path) -> None:
    pushed = misc("push", folder / "a.png", *PIXEL, "--no-wait", "--describe", "none")["results"][0]

    followed = misc("jobs", pushed["job"], "--watch")["jobs"][0]
    assert (followed["id"], followed["state"]) == (pushed["job"], "succeeded")

    listed = misc("jobs", "--state", "succeeded", "--limit", 5)["jobs"]
    assert pushed["job"] in [job["id"] for job in listed]
    # One that has ended stays as it is.
    assert misc("jobs", "--cancel", pushed["job"])["jobs"][0]["state"] == "succeeded"


def test_image_that_is_not_there_is_named(misc: Misc, tmp_path: Path) -> None:
    result = misc("pull", "img_00000000000000000000000000", "-o", tmp_path, status=1)["results"][0]

    assert result["error"]["code"] == "not_found"


def test_python_client_brings_a_picture_there_and_back(stack: EmbeddedStack, folder: Path) -> None:
    with Client(stack.base_url) as client:
        seen: list[str] = []
        image = client.upload(
            folder / "a.png", on_change=lambda job: seen.append(job["state"]), mode="pixel", text="cells of colour"
        )
        assert (image.name, image.state, seen[-1]) == ("a.png", "ready", "succeeded")
        assert client.reconstruct(image, restorer="smooth").size == (64, 48)
        assert decode(client.bitstream(image), restorer="smooth").picture.size == (64, 48)
        assert image.id in [found.id for found in client.images(q="cells colour")]
        with pytest.raises(ClientError) as refused:
            client.reconstruct("img_00000000000000000000000000")
        assert (refused.value.code, refused.value.status) == ("not_found", 404)


def test_python_client_waits_for_many_at_once(stack: EmbeddedStack) -> None:
    async def _round() -> list[StoredImage]:
        async with AsyncClient(stack.base_url) as client:
            noise = np.random.default_rng(7).integers(0, 256, (6, 6, 8, 3), dtype=np.uint8)
            return await asyncio.gather(*(client.upload(each, mode="pixel", describe="none") for each in noise))

    images = asyncio.run(_round())
    assert len({image.id for image in images}) == 6
    assert {image.state for image in images} == {"ready"}


def test_python_client_sends_a_folder_and_goes_on_where_it_or_the_command_ended(
    stack: EmbeddedStack, misc: Misc, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))  # what `misc push` remembers, too
    options = {"mode": "pixel", "describe": "none"}
    told: list[float] = []
    with Client(stack.base_url) as client:
        first = client.push(folder, on_progress=lambda batch: told.append(batch["progress"]), **options)
        assert set(first.images) == {"a.png", "trip/b.jpg"} and first.errors == {}
        assert first.report["images"]["ready"] == 2
        assert told == sorted(told) and told[-1] == 1

        (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nand no more")
        again = client.push(folder, **options)
        assert (again.id, again.images) == (first.id, first.images)
        assert set(again.errors) == {"broken.png"}
        with pytest.raises(CodecError):
            client.push(folder, level=99)
    (folder / "broken.png").unlink()
    results = misc("push", folder, *PIXEL, "--describe", "none")["results"]
    assert [result["skipped"] for result in results] == [True, True]
    assert {result["image"] for result in results} == set(first.images.values())
