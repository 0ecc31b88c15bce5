"""What the command's client sends, taken in by the real interface."""

import hashlib
from pathlib import Path

from fastapi.testclient import TestClient

from cli.server.client import Client, Upload
from codec.bitstream import ExternalCoarse, Stream, Texts
from codec.bitstream.container import pack
from tests.unit.api.samples import picture, stream


def test_streams_are_imported_once_and_external_ones_with_their_picture(client: TestClient, tmp_path: Path) -> None:
    plain, external, reference = (tmp_path / name for name in ("a.misc", "b.misc", "b.ref.png"))
    plain.write_bytes(stream())
    reference.write_bytes(picture())
    coarse = ExternalCoarse(hashlib.sha256(picture()).digest()[:16], 300)
    external.write_bytes(pack(Stream(64, 48, coarse, Texts((), "A cat."))).data)
    command = Client("http://localhost")
    command._http = client

    first = command.import_bitstream(Upload(plain, "a.misc", "push-1"))
    assert (first["image"]["name"], first["image"]["state"], first["is_new"]) == ("a.misc", "ready", True)
    assert not command.import_bitstream(Upload(plain, "a.misc", "push-2"))["is_new"]

    second = command.import_bitstream(Upload(external, "b.misc", "push-3"), reference)
    assert client.get(f"/v1/images/{second['image']['id']}/bitstream").content == external.read_bytes()
    command.order_reconstruction(second["image"]["id"], {})
