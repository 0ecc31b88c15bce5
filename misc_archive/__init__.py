"""Images at 0.02 to 0.05 bits per pixel, from Python.

    from misc_archive import Client, decode, encode, inspect

    encoded = encode("photo.jpg", max_bpp=0.05)
    decode(encoded).save("back.png")

`encode`, `decode` and `inspect` work on this machine; `Client` and `AsyncClient` talk to a server (`misc up`).
"""

from cli.server.client import ClientError
from codec.errors import CodecError
from misc_archive.client import AsyncClient, Client, PushedBatch, StoredImage
from misc_archive.local import Encoded, Reconstruction, decode, encode, inspect

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "CodecError",
    "Encoded",
    "PushedBatch",
    "Reconstruction",
    "StoredImage",
    "decode",
    "encode",
    "inspect",
]
