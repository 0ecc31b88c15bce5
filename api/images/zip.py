"""`/v1/images.zip`: files of several images in one ZIP archive, which is made while it is sent."""

import zipfile
from collections.abc import Callable, Generator, Sequence
from enum import StrEnum
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from api.auth import CallerDependency
from api.downloads import Download, verified_pieces
from api.identifiers import check_image_id
from api.images.files import original_of, picture_of, stream_of
from api.openapi import file_content
from api.services import Services, ServicesDependency
from codec.media import ZIP
from core.archive import images, reconstructions
from core.errors import NotReady, ServiceError
from core.owners.view import View

router = APIRouter(prefix="/v1", tags=["images"])

_MOST_IMAGES = 200
_SHOWN_RECONSTRUCTIONS = 20


class Part(StrEnum):
    """Which file of each image."""

    STREAM = "stream"
    """The `.misc` file."""
    RECONSTRUCTION = "reconstruction"
    """The latest reconstruction that is ready."""
    ORIGINAL = "original"
    """What was handed in, where it was kept."""


ImageIds = Annotated[
    list[str], Query(alias="id", min_length=1, max_length=_MOST_IMAGES, description="An image; as often as there are.")
]
Parts = Annotated[list[Part], Query(alias="part", description="A kind of file; as often as wanted.")]


@router.get(
    "/images.zip",
    summary="Fetch files of several images",
    response_class=StreamingResponse,
    responses={200: {"content": file_content(ZIP), "description": "A ZIP archive."}},
)
def fetch_zip(
    services: ServicesDependency,
    caller: CallerDependency,
    image_ids: ImageIds,
    parts: Parts = [Part.STREAM],  # noqa: B006
) -> StreamingResponse:
    """One ZIP archive with these parts of at most 200 images; what an image does not have is left out. 409 `not_ready`
    where none has any of it. Each file is verified; a damaged one breaks the download off."""
    wanted = list(dict.fromkeys(map(check_image_id, image_ids)))
    downloads = _downloads(services, caller.view, wanted, list(dict.fromkeys(parts)))
    if not downloads:
        raise NotReady("None of these images has such a file.")
    headers = {"Content-Disposition": 'attachment; filename="misc-images.zip"', "Cache-Control": "private, no-store"}
    return StreamingResponse(services.storage_threads.iterate(_zipped(downloads)), headers=headers, media_type=ZIP)


def _downloads(services: Services, view: View, image_ids: Sequence[str], parts: Sequence[Part]) -> list[Download]:
    found = []
    with services.database.read() as session:
        for image_id in image_ids:
            image = images.get(session, image_id, view)
            rows = reconstructions.latest_of_image(session, image_id, _SHOWN_RECONSTRUCTIONS)
            ways: dict[Part, list[Callable[[], Download]]] = {
                Part.STREAM: [partial(stream_of, services, image)],
                Part.RECONSTRUCTION: [partial(picture_of, services, row, image.name) for row in rows],
                Part.ORIGINAL: [partial(original_of, services, image)],
            }
            found += [download for part in parts if (download := _first(ways[part])) is not None]
    return found


def _first(ways: Sequence[Callable[[], Download]]) -> Download | None:
    for way in ways:
        try:
            return way()
        except ServiceError:
            # It is not there, which is no fault in a list of many.
            continue
    return None


class _Pieces:
    """What the archive's writer has written and nobody has sent; it cannot be read back or moved in."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(self._pieces[-1])

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""

    def take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


def _zipped(downloads: Sequence[Download]) -> Generator[bytes, None, None]:
    """The archive in pieces. The files are not compressed: none of them would get smaller."""
    pieces, names = _Pieces(), _Names()
    with zipfile.ZipFile(pieces, "w", zipfile.ZIP_STORED) as archive:
        for download in downloads:
            entry = zipfile.ZipInfo(names.free(download.name))
            with archive.open(entry, "w", force_zip64=download.size_bytes >= zipfile.ZIP64_LIMIT) as file:
                for piece in verified_pieces(download):
                    file.write(piece)
                    yield pieces.take()
            yield pieces.take()
    yield pieces.take()


class _Names:
    """Names in one folder, each once: the second `boat.misc` is `boat (2).misc`."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def free(self, name: str) -> str:
        stem, dot, extension = name.partition(".") if not name.startswith(".") else (name, "", "")
        free, number = name, 1
        while free.casefold() in self._taken:
            number += 1
            free = f"{stem} ({number}){dot}{extension}"
        self._taken.add(free.casefold())
        return free
