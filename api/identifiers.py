"""Ids and cursors as they come in addresses: checked before a database sees them, which may not take every string."""

import re
from typing import Annotated

from fastapi import Path, Query
from pydantic import AfterValidator, WithJsonSchema

from core.errors import NotFound, RequestInvalid
from core.paging import MAX_LIMIT

_ID = re.compile(r"[a-z]{3}_[0-9a-z]{26}")


def _known(what: str, prefix: str) -> AfterValidator:
    def _check(value: str) -> str:
        if _ID.fullmatch(value) is None or not value.startswith(prefix):
            raise NotFound(f"There is no {what} {value[:80]!r}.")
        return value

    return AfterValidator(_check)


def _form(prefix: str) -> WithJsonSchema:
    """How the document describes a parameter that may be left out; `_valid` checks it, and its message says more."""
    return WithJsonSchema({"type": "string", "pattern": f"^{prefix}[0-9a-z]{{26}}$"})


def _valid(what: str, prefix: str) -> AfterValidator:
    def _check(value: str | None) -> str | None:
        if value is not None and (_ID.fullmatch(value) is None or not value.startswith(prefix)):
            raise RequestInvalid(f"{value[:80]!r} is no {what}.")
        return value

    return AfterValidator(_check)


ImageId = Annotated[str, Path(examples=["img_01kb2c9q0r5w3v7x1y8z4t6n2m"]), _known("image", "img_")]
JobId = Annotated[str, Path(examples=["job_01kb2c9q0r5w3v7x1y8z4t6n2m"]), _known("job", "job_")]
BatchId = Annotated[str, Path(examples=["bat_01kb2c9q0r5w3v7x1y8z4t6n2m"]), _known("batch", "bat_")]
ReconstructionId = Annotated[str, Path(examples=["rec_01kb2c9q0r5w3v7x1y8z4t6n2m"]), _known("reconstruction", "rec_")]
WorkerId = Annotated[str, Path(examples=["wrk_01kb2c9q0r5w3v7x1y8z4t6n2m"]), _known("worker", "wrk_")]
WebhookId = Annotated[str, Path(examples=["whk_01kb2c9q0r5w3v7x1y8z4t6n2m"]), _known("webhook", "whk_")]
MessageId = Annotated[str, Path(examples=["msg_01kb2c9q0r5w3v7x1y8z4t6n2m"]), _known("message", "msg_")]

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many at most.")]
ImageCursor = Annotated[
    str | None,
    Query(description="`next_cursor` of the page before."),
    _valid("cursor of images", "img_"),
    _form("img_"),
]
JobCursor = Annotated[
    str | None, Query(description="`next_cursor` of the page before."), _valid("cursor of jobs", "job_"), _form("job_")
]
BatchCursor = Annotated[
    str | None,
    Query(description="`next_cursor` of the page before."),
    _valid("cursor of batches", "bat_"),
    _form("bat_"),
]
WebhookCursor = Annotated[
    str | None,
    Query(description="`next_cursor` of the page before."),
    _valid("cursor of webhooks", "whk_"),
    _form("whk_"),
]
MessageCursor = Annotated[
    str | None,
    Query(description="`next_cursor` of the page before."),
    _valid("cursor of messages", "msg_"),
    _form("msg_"),
]
ImageFilter = Annotated[
    str | None, Query(description="Only those of this image."), _valid("image id", "img_"), _form("img_")
]
BatchFilter = Annotated[
    str | None, Query(description="Only those of this batch."), _valid("batch id", "bat_"), _form("bat_")
]

BatchName = Annotated[
    str | None,
    Query(min_length=1, max_length=255, pattern=r"^[^\x00]*$", description="The whole name of a batch."),
]

SearchQuery = Annotated[
    str | None,
    Query(max_length=200, description="Words, or beginnings of words, of names and descriptions; all must be there."),
]


def check_image_id(value: str) -> str:
    """One of several image ids in a query; raises NotFound like an id in an address."""
    if _ID.fullmatch(value) is None or not value.startswith("img_"):
        raise NotFound(f"There is no image {value[:80]!r}.")
    return value


def check_batch_id(value: str) -> str:
    """A batch id that comes in options; raises NotFound like an id in an address."""
    if _ID.fullmatch(value) is None:
        raise NotFound(f"There is no batch {value[:80]!r}.")
    return value
