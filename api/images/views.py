"""Small files that are made of an image when somebody looks: its thumbnail, and AVIF of as many bytes as its stream."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from PIL import Image as Picture

from api.auth import CallerDependency
from api.downloads import renamed, send_bytes
from api.identifiers import ImageId
from api.openapi import file_content
from api.services import Services, ServicesDependency
from codec.bitstream import ExternalCoarse, PixelCoarse, RefCoarse, unpack
from codec.media import AVIF, WEBP
from codec.picture.blocks import blocks_picture
from codec.picture.small import avif_within, thumbnail
from core.archive import bitstreams, images, reconstructions
from core.errors import NotFound, NotReady
from core.owners.view import View
from core.storage.verified import fetch_file
from core.temp_files import UPLOADS, space_errors
from models.image import Image
from models.reconstruction import ReconstructionState

router = APIRouter(prefix="/v1/images", tags=["images"])

_EDGE_PX = 400
"""A tile of the gallery at two device pixels for each of the page's."""

_SHOWN_RECONSTRUCTIONS = 20
_NO_ROOM = "There is no room to look at the picture now."


@dataclass(frozen=True)
class _Source:
    """A picture file in storage."""

    key: str
    sha256: str | None


@router.get(
    "/{image_id}/thumbnail",
    summary="Fetch a thumbnail",
    response_class=Response,
    responses={200: {"content": file_content(WEBP), "description": "A small picture."}},
)
async def fetch_thumbnail(
    request: Request, services: ServicesDependency, caller: CallerDependency, image_id: ImageId
) -> Response:
    """The picture at most 400 pixels long, as WebP: of the original while that is there, else of the latest
    reconstruction, else of the coarse picture. 409 `not_ready` for a stream that only networks can read, until there is
    a reconstruction."""
    image, source = await to_thread.run_sync(_look, services, caller.view, image_id)
    origin = source.key if source is not None else image.bitstream_sha256
    if origin is None:
        raise NotReady(f"Image {image.id} is {image.state}; there is no picture of it yet.")
    make = partial(_thumbnail_of_file, services, source) if source else partial(_thumbnail_of_stream, services, image)
    file = await _made_once(services, f"thumbnail {origin}", make)
    return send_bytes(request, file, WEBP, renamed(image.name, "thumbnail.webp"))


@router.get(
    "/{image_id}/avif",
    summary="Fetch AVIF of the same bytes",
    response_class=Response,
    responses={200: {"content": file_content(AVIF), "description": "A whole AVIF file, no larger than the stream."}},
)
async def fetch_avif(
    request: Request, services: ServicesDependency, caller: CallerDependency, image_id: ImageId
) -> Response:
    """What AVIF makes of the original in at most as many bytes as the stream has, to be compared with a reconstruction:
    a whole file, at the scale from 1 to 1/8 that comes closest by the mean of squares. 404 where the original was not
    kept, or AVIF does not get so small."""
    image = await to_thread.run_sync(_read, services, caller.view, image_id)
    if image.bitstream_bytes is None:
        raise NotReady(f"Image {image.id} is {image.state}; it has no stream yet.")
    if image.original_key is None:
        raise NotFound(f"The original of image {image.id} was not kept.")
    source = _Source(image.original_key, image.original_sha256)
    limit = image.bitstream_bytes
    make = partial(_avif_of_file, services, source, limit)
    file = await _made_once(services, f"avif {limit} {source.key}", make)
    if not file:
        raise NotFound(f"AVIF cannot hold this picture in {limit:,} bytes.")
    return send_bytes(request, file, AVIF, renamed(image.name, "same-bytes.avif"))


async def _made_once(services: Services, key: str, make: Callable[[], bytes]) -> bytes:
    """The file that is kept under the key, or a new one; few are made at a time."""

    def _make() -> bytes:
        file = services.views.get(key)
        if file is None:
            file = make()
            services.views.put(key, file)
        return file

    kept = services.views.get(key)
    return kept if kept is not None else await to_thread.run_sync(_make, limiter=services.picture_slots)


def _read(services: Services, view: View, image_id: str) -> Image:
    with services.database.read() as session:
        return images.get(session, image_id, view)


def _look(services: Services, view: View, image_id: str) -> tuple[Image, _Source | None]:
    with services.database.read() as session:
        image = images.get(session, image_id, view)
        if image.original_key is not None:
            return image, _Source(image.original_key, image.original_sha256)
        for row in reconstructions.latest_of_image(session, image_id, _SHOWN_RECONSTRUCTIONS):
            if row.state == ReconstructionState.READY and row.object_key is not None:
                return image, _Source(row.object_key, row.sha256)
    return image, None


def _thumbnail_of_file(services: Services, source: _Source) -> bytes:
    return thumbnail(_opened(services, partial(fetch_file, services.storage, source.key), source.sha256), _EDGE_PX)


def _thumbnail_of_stream(services: Services, image: Image) -> bytes:
    assert image.bitstream_sha256 is not None, "an image without a stream is not ready"
    stream = unpack(bitstreams.get(services.database, services.storage, image.bitstream_sha256)).stream
    coarse = stream.coarse
    if isinstance(coarse, PixelCoarse):
        small = blocks_picture(coarse.columns, coarse.rows, coarse.level, coarse.samples)
    elif isinstance(coarse, RefCoarse):
        file = coarse.file
        # Somebody else's bytes, like an upload.
        small = _opened(services, lambda path, *_: _write(path, file), None)
    elif isinstance(coarse, ExternalCoarse) and image.reference_key is not None:
        small = _opened(services, partial(fetch_file, services.storage, image.reference_key), None)
    else:
        raise NotReady(f"There is no picture of image {image.id} yet; order a reconstruction.")
    # A coarse picture may be a few dozen pixels; what it shows are the proportions of the picture.
    scale = _EDGE_PX / max(stream.width, stream.height)
    if scale < 1:
        size = max(1, round(stream.width * scale)), max(1, round(stream.height * scale))
    else:
        size = stream.width, stream.height
    return thumbnail(small.resize(size, Picture.Resampling.BICUBIC), _EDGE_PX)


def _avif_of_file(services: Services, source: _Source, limit_bytes: int) -> bytes:
    """Empty where AVIF does not get so small, so that this is found out once."""
    picture = _opened(services, partial(fetch_file, services.storage, source.key), source.sha256)
    return avif_within(picture, limit_bytes) or b""


def _opened(services: Services, fetch: Callable[[Path, str | None, str], None], sha256: str | None) -> Picture.Image:
    """The picture that `fetch` writes to a path; decoded in a child process, as every file that was uploaded."""
    with space_errors(_NO_ROOM), tempfile.TemporaryDirectory(prefix=UPLOADS) as folder:
        path = Path(folder) / "picture"
        fetch(path, sha256, _NO_ROOM)
        return services.pictures.open(path, max_pixels=services.settings.max_pixels).picture


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
