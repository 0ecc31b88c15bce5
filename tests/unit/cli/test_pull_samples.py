"""`misc pull --samples N` fetches pictures of several seeds, one file each, as `misc decode --samples` makes them."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from cli.commands import pull
from cli.server.client import ClientError

Misc = Callable[..., Result]


class Server:
    """Paints what is ordered; the second sample fails where `fails` says so."""

    def __init__(self) -> None:
        self.orders: list[Mapping[str, Any]] = []
        self.fails = False

    def image(self, image_id: str) -> dict[str, Any]:
        return {"id": image_id, "name": "boat.jpg", "bitstream_sha256": "0"}

    def order_reconstruction(self, image_id: str, options: Mapping[str, Any]) -> dict[str, Any]:
        self.orders.append(options)
        samples = [
            {"reconstruction": {"id": f"rec_{number}"}, "job": {"id": f"job_{number}"}}
            for number in range(options.get("samples", 1))
        ]
        return samples[0] | {"samples": samples if len(samples) > 1 else []}

    def wait_for_success(self, job_id: str) -> None:
        if self.fails and job_id == "job_1":
            raise ClientError("out_of_memory", "It does not fit.")

    def download(self, path: str, target: Path) -> int:
        target.write_text(path)
        return len(path)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()

    @contextmanager
    def connected(address: str | None, key: str | None) -> Iterator[Server]:
        yield server

    monkeypatch.setattr(pull, "connected", connected)
    return server


def test_each_sample_has_a_file_and_is_ordered_once(misc: Misc, server: Server, tmp_path: Path) -> None:
    words = ("pull", "img_1", "--samples", "3", "--restorer", "diffusion", "--seed", "7", "-o", tmp_path)
    result = misc(*words)
    assert result.exit_code == 0, result.stderr
    names = [f"boat-img_1_{number}.png" for number in range(3)]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert [(tmp_path / name).read_text() for name in names] == [
        f"/v1/reconstructions/rec_{number}/content" for number in range(3)
    ]
    assert server.orders == [{"restorer": "diffusion", "seed": 7, "format": "png", "samples": 3}]
    assert misc(*words).stdout.count("was there") == 3
    assert len(server.orders) == 1


def test_one_sample_that_fails_costs_no_other_one(misc: Misc, server: Server, tmp_path: Path) -> None:
    server.fails = True
    result = misc("pull", "img_1", "--samples", "3", "-o", tmp_path, "--json")
    errors = [entry["error"] and entry["error"]["code"] for entry in json.loads(result.stdout)["results"]]
    assert (result.exit_code, errors) == (1, [None, "out_of_memory", None])
    assert len(list(tmp_path.iterdir())) == 2


def test_one_picture_keeps_its_name_and_several_have_no_place_on_stdout(
    misc: Misc, server: Server, tmp_path: Path
) -> None:
    assert misc("pull", "img_1", "-o", tmp_path).exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["boat-img_1.png"]
    assert "samples" not in server.orders[0]
    assert misc("pull", "img_1", "--samples", "2", "-o", "-").exit_code == 2
