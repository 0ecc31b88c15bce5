"""`/v1/bitstreams`: take in a `.misc` file that was made elsewhere."""

import hashlib
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.bitstreams.schemas import ImportedBitstream
from api.images import references
from api.images.schemas import describe_image
from api.openapi import IDEMPOTENCY_PARAMETER
from api.replay import Keep, answer_of, answered_once
from api.services import Services, ServicesDependency
from api.uploads import UploadedFile, is_form, plain_name, received_form
from codec.bitstream import ExternalCoarse, Unpacked, unpack
from codec.errors import StreamLimitExceeded, StreamTruncated
from codec.limits import MAX_STREAM_BYTES
from codec.media import MISC
from core.archive import images, object_lifecycle
from core.errors import RequestInvalid
from core.idempotency import StoredAnswer
from core.storage.keys import bitstream_key
from models.description import DescriptionRecord
from models.image import Image
from models.pending_deletion import PendingDeletion

router = APIRouter(prefix="/v1/bitstreams", tags=["bitstreams"])

_BINARY: dict[str, Any] = {"type": "string", "contentMediaType": MISC}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            MISC: {"schema": _BINARY},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": _BINARY,
                        "reference": {
                            "type": "string",
                            "contentMediaType": "application/octet-stream",
                            "description": "The picture that an external stream names by digest.",
                        },
                    },
                    "required": ["file"],
                }
            },
        },
    }
}


@router.post(
    "",
    status_code=201,
    summary="Take in a stream",
    response_model=ImportedBitstream,
    responses={200: {"model": ImportedBitstream, "description": "The archive had this very stream already."}},
    openapi_extra=_BODY | {"parameters": [IDEMPOTENCY_PARAMETER]},
)
async def take_bitstream(
    request: Request,
    services: ServicesDependency,
    name: Annotated[
        str | None, Query(max_length=255, description="A name for a stream that comes as the body.")
    ] = None,
) -> Response:
    """The `.misc` file as the body, or as the form field `file`. It is read and checked before it is stored. The same
    bytes become one image: sent again, the answer is 200 and names it. An external stream can be decoded only if the
    picture that it names comes with it as the form field `reference`; it may be sent later with the same stream."""
    if not is_form(request):
        data = await request.body()
        return await _take_once(request, services, _Arrival(plain_name(name or "", "stream.misc"), data), None)
    async with received_form(request, max_files=2) as form:
        form.check_names(files=("file", "reference"))
        file = form.file("file")
        data = await run_in_threadpool(_read_file, file.path, file.size_bytes)
        return await _take_once(request, services, _Arrival(file.name, data), form.optional_file("reference"))


class _Arrival:
    """The bytes of a stream that came, and what it is to be called."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name, self.data = name, data
        self.sha256 = hashlib.sha256(data).hexdigest()


async def _take_once(request: Request, services: Services, arrival: _Arrival, beside: UploadedFile | None) -> Response:
    async def _act(keep: Keep) -> StoredAnswer:
        # Reading a stream may take a second of pure Python; two at a time leave room for everybody else.
        unpacked = await to_thread.run_sync(partial(_check, arrival.data), limiter=services.picture_slots)
        reference = None
        if beside is not None:
            _check_belongs(unpacked, beside)
            reference = await references.check_reference(services, beside)
        return await run_in_threadpool(partial(_take, services, arrival, unpacked, reference, keep))

    said = {"file": arrival.sha256, "name": arrival.name, "reference": beside and beside.sha256}
    return await answered_once(request, services, said, _act)


def _check_belongs(unpacked: Unpacked, beside: UploadedFile) -> None:
    coarse = unpacked.stream.coarse
    if not isinstance(coarse, ExternalCoarse):
        raise RequestInvalid("The stream names no reference picture; send it without one.")
    references.check_digest(beside, coarse.digest)


def _read_file(path: Path, size_bytes: int) -> bytes:
    if size_bytes > MAX_STREAM_BYTES:
        raise StreamLimitExceeded(f"A stream has at most {MAX_STREAM_BYTES} bytes; this one has {size_bytes}.")
    return path.read_bytes()


def _check(data: bytes) -> Unpacked:
    if not data:
        raise StreamTruncated("The stream is empty: it has no bytes. Was the upload complete?")
    return unpack(data)


def _take(
    services: Services, arrival: _Arrival, unpacked: Unpacked, reference: references.Reference | None, keep: Keep
) -> StoredAnswer:
    key = bitstream_key(arrival.sha256)
    object_lifecycle.reserve(services.database, key)
    services.storage.put(key, arrival.data, content_type=MISC, sha256=arrival.sha256)
    if reference is not None:
        references.store(services, reference)
    while True:
        with services.database.write() as session:
            answer = _record(session, arrival, unpacked, reference)
            if answer is not None:
                keep(session, answer)
                return answer
        # Somebody else took the same stream in meanwhile, and their transaction used our reservation up.
        object_lifecycle.reserve(services.database, key)


def _record(
    session: Session, arrival: _Arrival, unpacked: Unpacked, reference: references.Reference | None
) -> StoredAnswer | None:
    """Find or insert the image of a stored stream; None when another transaction came in between.

    Locks are taken in the order that a deletion takes them: the image, then the reservation, which lets one of
    several that bring the same bytes insert an image.
    """
    sha256, key = arrival.sha256, bitstream_key(arrival.sha256)
    same = select(Image).where(Image.bitstream_sha256 == sha256).order_by(Image.id).limit(1)
    image = session.scalars(same.with_for_update(of=Image)).first()
    if session.scalars(select(PendingDeletion).where(PendingDeletion.key == key).with_for_update()).first() is None:
        return None
    if image is not None:
        object_lifecycle.keep(session, key)
        description, status = image.description, 200
    elif session.scalars(same).first() is not None:
        return None
    else:
        image = images.import_bitstream(
            session, name=arrival.name, stream=unpacked.stream, bits=unpacked.bits, sha256=sha256
        )
        session.flush()
        description, status = session.get(DescriptionRecord, image.id), 201
    if reference is not None:
        object_lifecycle.keep(session, reference.key)
        image.reference_key = reference.key
    body = ImportedBitstream(image=describe_image(image, description))
    return answer_of(status, body, body.image.links.self)
