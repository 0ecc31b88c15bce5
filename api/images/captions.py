"""Descriptions that come as a file of the form: each picture gets the one under its file name."""

from functools import partial

from starlette.concurrency import run_in_threadpool

from api.images.schemas import SubmitOptions
from api.openapi import file_schema
from api.uploads import UploadedFile
from codec.captions import Captions, load_captions
from codec.errors import OptionError
from codec.options import GivenDescription, GivenItem

_MAX_BYTES = 16 * 1024 * 1024
"""Far above what the descriptions of one request's pictures take; the whole file is parsed in memory."""

CAPTIONS_FIELD = file_schema(
    "Descriptions made elsewhere, matched by file name: CSV with the columns name,prompt, or JSON."
)
"""The form field as the interface's description shows it."""


async def read_captions(file: UploadedFile | None, options: SubmitOptions) -> Captions | None:
    """The descriptions of a form, or None without any; raises CaptionsError, OptionError with other texts."""
    if file is None:
        return None
    if options.text is not None or options.description is not None:
        raise OptionError("Give either the file 'captions' or the option text or description, not both.")
    return await run_in_threadpool(partial(load_captions, file.path, name=file.name, max_bytes=_MAX_BYTES))


def with_caption(options: SubmitOptions, captions: Captions | None, name: str) -> SubmitOptions:
    """The options of one picture; raises CaptionsError when the file has no description for it."""
    if captions is None:
        return options
    found = captions.lookup(name)
    items = tuple(GivenItem(name=item.name, detail=item.detail) for item in found.items)
    return options.model_copy(update={"description": GivenDescription(items=items, overall=found.overall)})
