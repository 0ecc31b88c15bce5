"""Small pictures and streams for the API's tests."""

import io
import json
import struct
import zlib
from typing import Any

import numpy as np
from fastapi.testclient import TestClient
from PIL import Image

from codec.bitstream import Maps, PixelCoarse, Stream, Texts, pack

MULTIPART = "multipart/form-data; boundary=cut"


def picture(seed: int = 0, size: tuple[int, int] = (24, 16), kind: str = "PNG") -> bytes:
    """A picture that no other seed gives."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def huge_png() -> bytes:
    """A PNG that claims 60000x60000 pixels."""

    def _chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(bytes(100)))
        + _chunk(b"IEND", b"")
    )


def stream(shade: int = 3) -> bytes:
    """A whole `.misc` file with text and maps."""
    masks = tuple(bytes(int(row < 4 + item) for row in range(8) for _ in range(8)) for item in range(3))
    value = Stream(
        width=640,
        height=480,
        coarse=PixelCoarse(columns=4, rows=3, level=3, samples=bytes([shade] * 36)),
        texts=Texts(("a red boat", "calm water", "grey sky"), "A red boat on calm water under a grey sky."),
        maps=Maps(8, masks),
    )
    return pack(value).data


def submit(client: TestClient, data: bytes | None = None, name: str = "boat.png", **options: Any) -> dict[str, Any]:
    """Hand in a picture; returns the answer."""
    answer = client.post(
        "/v1/images",
        files={"file": (name, picture() if data is None else data)},
        data={"options": json.dumps(options)},
    )
    assert answer.status_code == 202, answer.text
    body: dict[str, Any] = answer.json()
    return body
