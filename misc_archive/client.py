"""A server from Python: pictures in, pictures out, with the waits and retries in between."""

import asyncio
import io
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from PIL import Image

from cli.local.file_selection import select_files
from cli.server.client import Client as HTTPClient
from cli.server.client import Upload
from cli.server.group import Group, GroupName
from cli.server.group_push import PATIENCE_SECONDS, follow_group, send_group
from cli.server.push_history import PushHistory, default_path
from cli.server.remote import URGENCY
from cli.server.upload import Picture, check_options, with_file_date
from cli.server.upload import name_of as path_name
from codec.media import PICTURE_SUFFIXES
from misc_archive.sources import PictureSource, name_of, picture_of

OnChange = Callable[[dict[str, Any]], None]
"""Called with the job, as the interface shows it, at every look."""

OnProgress = Callable[[dict[str, Any]], None]
"""Called with the batch, as its events tell of it: `progress` in [0, 1], which never goes back, `seconds_left`."""


@dataclass(frozen=True)
class StoredImage:
    """An image of the archive. `document` is all that the interface says of it."""

    id: str
    name: str
    state: str
    bpp: float | None
    document: dict[str, Any]

    @classmethod
    def of(cls, document: dict[str, Any]) -> Self:
        """From the interface's document."""
        return cls(document["id"], document["name"], document["state"], document.get("bpp"), document)


@dataclass(frozen=True)
class PushedBatch:
    """A folder that was sent as one batch. `images` are ids by path below the folder, `errors` sentences on those that
    came to nothing, `report` is the interface's."""

    id: str
    images: dict[str, str]
    errors: dict[str, str]
    report: dict[str, Any]


class Client:
    """One server; may be used from many threads. A context manager that gives its connections back."""

    def __init__(self, server: str | None = None, key: str | None = None) -> None:
        """`server` falls back to MISC_SERVER, then http://127.0.0.1:8000; `key` to MISC_API_KEY."""
        self._http = HTTPClient(server, key)

    def __enter__(self) -> Self:
        """Use it in a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give the connections back."""
        self._http.__exit__()

    def upload(
        self, picture: PictureSource, *, name: str | None = None, on_change: OnChange | None = None, **options: Any
    ) -> StoredImage:
        """Send a picture and wait until it is encoded; `options` are those of `misc push`,
        `keep_metadata` among them, with which a file's date goes along.

        Raises ClientError with the server's code, or that of the job that failed.
        """
        with TemporaryDirectory(prefix="misc-upload-") as folder:
            path = _file_of(picture, Path(folder))
            upload = Upload(path, name or name_of(picture) or path.name, f"python-{secrets.token_hex(16)}")
            if isinstance(picture, str | os.PathLike):
                options = with_file_date(options, path)
            answer = self._http.submit_picture(upload, _plain(options))
        self._http.wait_for_success(answer["job"]["id"], on_change=on_change)
        return self.image(answer["image"]["id"])

    def push(
        self,
        folder: str | os.PathLike[str],
        *,
        batch: str | None = None,
        uploads: int = 4,
        on_progress: OnProgress | None = None,
        **options: Any,
    ) -> PushedBatch:
        """Send the pictures of a folder and of those below it as one batch, and wait until it is done.

        Does what `misc push` does, and goes on with what either of them began: only what the batch has not is sent,
        `uploads` at a time. `batch` names it, else the folder does; `options` are those of `misc push`. Raises
        OptionError for wrong ones and for a folder without pictures, and ClientError.
        """
        urgency = _plain({name: options.pop(name) for name in URGENCY if name in options})
        check_options(options)
        top = Path(folder).resolve()
        selection = select_files([top], PICTURE_SUFFIXES)
        pictures = [Picture(path, path_name(below), options) for path, below in selection.files]
        self._http.patience_seconds = PATIENCE_SECONDS
        history = PushHistory(default_path())
        name = GroupName.of_folder(top) if batch is None else GroupName.chosen(batch)
        group = Group.open(self._http, history, name, is_shared=batch is not None)
        outcomes = send_group(
            self._http, history, group, pictures, uploads=uploads, on_sent=lambda: None, urgency=urgency
        )
        follow_group(group, outcomes, on_progress or (lambda _batch: None))
        ended = list(zip((picture.name for picture in pictures), outcomes, strict=True))
        return PushedBatch(
            id=group.id,
            images={name: outcome.image for name, outcome in ended if outcome.image is not None},
            errors={name: outcome.error["message"] for name, outcome in ended if outcome.error is not None},
            report=group.report(),
        )

    def image(self, image_id: str) -> StoredImage:
        """One image."""
        return StoredImage.of(self._http.image(image_id))

    def images(self, **filters: str | None) -> Iterator[StoredImage]:
        """All images, newest first; `q` looks for words in names and descriptions, `state` for a state."""
        return map(StoredImage.of, self._http.images(**filters))

    def bitstream(self, image: StoredImage | str) -> bytes:
        """The `.misc` file of an image."""
        return self._content(f"/v1/images/{_id_of(image)}/bitstream")

    def reconstruct(
        self, image: StoredImage | str, *, on_change: OnChange | None = None, **options: Any
    ) -> Image.Image:
        """The picture of an image; `options` are those of `misc pull`, a `deadline` as a datetime. The same options
        give what is there already."""
        answer = self._http.order_reconstruction(_id_of(image), {"format": "png"} | _plain(options))
        self._http.wait_for_success(answer["job"]["id"], on_change=on_change)
        picture = Image.open(io.BytesIO(self._content(f"/v1/reconstructions/{answer['reconstruction']['id']}/content")))
        picture.load()
        return picture

    def _content(self, path: str) -> bytes:
        return self._http.get(path).content


class AsyncClient:
    """The same for asyncio: each call runs in a thread, so that many wait at once."""

    def __init__(self, server: str | None = None, key: str | None = None) -> None:
        """As `Client`."""
        self._client = Client(server, key)

    async def __aenter__(self) -> Self:
        """Use it in a block."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Give the connections back."""
        await asyncio.to_thread(self._client.__exit__)

    async def upload(self, picture: PictureSource, **options: Any) -> StoredImage:
        """As `Client.upload`."""
        return await asyncio.to_thread(partial(self._client.upload, picture, **options))

    async def push(self, folder: str | os.PathLike[str], **options: Any) -> PushedBatch:
        """As `Client.push`."""
        return await asyncio.to_thread(partial(self._client.push, folder, **options))

    async def image(self, image_id: str) -> StoredImage:
        """As `Client.image`."""
        return await asyncio.to_thread(self._client.image, image_id)

    async def images(self, **filters: str | None) -> list[StoredImage]:
        """As `Client.images`, all at once."""
        return await asyncio.to_thread(lambda: list(self._client.images(**filters)))

    async def bitstream(self, image: StoredImage | str) -> bytes:
        """As `Client.bitstream`."""
        return await asyncio.to_thread(self._client.bitstream, image)

    async def reconstruct(self, image: StoredImage | str, **options: Any) -> Image.Image:
        """As `Client.reconstruct`."""
        return await asyncio.to_thread(partial(self._client.reconstruct, image, **options))


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as JSON has them: moments in words, those without a time zone this machine's."""
    return {
        name: value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value
        for name, value in options.items()
    }


def _id_of(image: StoredImage | str) -> str:
    return image if isinstance(image, str) else image.id


def _file_of(picture: PictureSource, folder: Path) -> Path:
    """The picture as a file: its own, else one in `folder`."""
    if isinstance(picture, str | os.PathLike):
        return Path(picture)
    path = folder / "picture.png"
    if isinstance(picture, bytes):
        path.write_bytes(picture)
    else:
        picture_of(picture).picture.save(path, "PNG")
    return path
