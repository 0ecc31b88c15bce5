"""Uploaded pictures are read to their end before they are stored, few at a time."""

from functools import partial

from anyio import to_thread

from api.services import Services
from api.uploads import UploadedFile
from codec.picture.capture import Capture
from codec.picture.open import PictureInfo


async def read_picture_info(services: Services, file: UploadedFile) -> PictureInfo:
    """Size and type of a picture that can be decoded; raises PictureError children and FeatureUnavailable."""
    check = partial(services.pictures.check, file.path, max_pixels=services.settings.max_pixels)
    return await to_thread.run_sync(check, limiter=services.picture_slots)


async def read_capture(services: Services, file: UploadedFile) -> Capture:
    """When and where a picture was taken, as far as its file says; errors as above."""
    read = partial(services.pictures.capture, file.path, max_pixels=services.settings.max_pixels)
    return await to_thread.run_sync(read, limiter=services.picture_slots)
