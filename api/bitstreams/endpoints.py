"""`/v1/bitstreams`: import a `.misc` file that was made elsewhere."""

import hashlib
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api.auth import CallerDependency
from api.bitstreams.schemas import ImportedBitstream, StreamMetadata
from api.idempotent import IdempotentRun, run_idempotent
from api.images.references import check_digest, check_reference
from api.images.schemas import to_out
from api.openapi import IDEMPOTENCY_PARAMETER, file_content, file_schema, inlined_schema
from api.quota import check_quota
from api.services import Services, ServicesDependency
from api.uploads import UploadedFile, is_form, plain_name, received_form
from codec.bitstream import ExternalCoarse, Stream, unpack
from codec.errors import StreamLimitExceeded, StreamTruncated
from codec.limits import MAX_STREAM_BYTES
from codec.options.fields import parse_options
from core.archive import bitstreams, images, object_lifecycle
from core.archive.images import NewStream
from core.errors import RequestInvalid
from core.owners import quotas

router = APIRouter(prefix="/v1/bitstreams", tags=["bitstreams"])

_BODY = {
    "requestBody": {
        "required": True,
        # Its own media type is taken too, but generators of clients refuse to know it.
        "content": file_content()
        | {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": file_schema(),
                        "reference": file_schema("The picture that an external stream names by digest."),
                        "metadata": inlined_schema(StreamMetadata),
                    },
                    "required": ["file"],
                    "additionalProperties": False,
                }
            },
        },
    }
}


@dataclass(frozen=True)
class _IncomingStream:
    """The bytes of a stream, whose it is to be, its name, and the reference picture and metadata that came with it."""

    owner: str
    name: str
    data: bytes
    reference: UploadedFile | None = None
    metadata: StreamMetadata | None = None

    @cached_property
    def sha256(self) -> str:
        """Digest of the bytes."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def payload(self) -> dict[str, Any]:
        """All that the request says, digests in place of files."""
        said = {"file": self.sha256, "name": self.name, "reference": self.reference and self.reference.sha256}
        return said if self.metadata is None else said | {"metadata": self.metadata.model_dump(mode="json")}


@router.post(
    "",
    status_code=201,
    summary="Import a stream",
    response_model=ImportedBitstream,
    responses={200: {"model": ImportedBitstream, "description": "The archive had this very stream already."}},
    openapi_extra=_BODY | {"parameters": [IDEMPOTENCY_PARAMETER]},
)
async def import_bitstream(
    request: Request,
    services: ServicesDependency,
    caller: CallerDependency,
    name: Annotated[
        str | None, Query(max_length=255, description="A name for a stream that comes as the body.")
    ] = None,
) -> Response:
    """The `.misc` file as the body, or as the form field `file`. It is read and checked before it is stored. The same
    bytes become one image of an owner: sent again, the answer is 200 and names it. An external stream can be decoded
    only if the picture that it names comes with it as the form field `reference`; it may be sent later with the same
    stream, and so may `metadata`, which is kept with the image."""
    if not is_form(request):
        incoming = _IncomingStream(caller.owner, plain_name(name or "", "stream.misc"), await request.body())
        return await _import_once(request, services, incoming)
    async with received_form(request, max_files=2) as form:
        form.check_names(fields=("metadata",), files=("file", "reference"))
        file = form.file("file")
        data = await run_in_threadpool(_read_file, file.path, file.size_bytes)
        said = form.json_object("metadata")
        metadata = parse_options(StreamMetadata, said) if said else None
        incoming = _IncomingStream(caller.owner, file.name, data, form.optional_file("reference"), metadata)
        return await _import_once(request, services, incoming)


async def _import_once(request: Request, services: Services, incoming: _IncomingStream) -> Response:
    async with services.upload_turns.taken(), run_idempotent(request, services, incoming.payload) as run:
        if run.is_new:
            await check_quota(services, incoming.owner)
            new = await _check(services, incoming)
            await services.storage_threads.run(_import, services, incoming, new, run)
    return run.response()


async def _check(services: Services, incoming: _IncomingStream) -> NewStream:
    if not incoming.data:
        raise StreamTruncated("The stream is empty: it has no bytes. Was the upload complete?")
    # Reading a stream may take a second of pure Python; two at a time leave room for everybody else.
    unpacked = await to_thread.run_sync(partial(unpack, incoming.data), limiter=services.picture_slots)
    if incoming.reference is not None:
        _check_belongs(unpacked.stream, incoming.reference)
    reference = await check_reference(services, incoming.reference)
    kept = None if incoming.metadata is None else incoming.metadata.model_dump(mode="json", exclude={"file"})
    return NewStream(incoming.owner, incoming.name, incoming.sha256, unpacked.stream, unpacked.bits, reference, kept)


def _check_belongs(stream: Stream, reference: UploadedFile) -> None:
    if not isinstance(stream.coarse, ExternalCoarse):
        raise RequestInvalid("The stream names no reference picture; send it without one.")
    check_digest(reference, stream.coarse.digest)


def _read_file(path: Path, size_bytes: int) -> bytes:
    if size_bytes > MAX_STREAM_BYTES:
        raise StreamLimitExceeded(f"A stream has at most {MAX_STREAM_BYTES} bytes; this one has {size_bytes}.")
    return path.read_bytes()


def _import(services: Services, incoming: _IncomingStream, new: NewStream, run: IdempotentRun) -> None:
    database, storage = services.database, services.storage
    bitstreams.put(database, storage, incoming.data, new.sha256)
    if new.reference is not None and incoming.reference is not None:
        object_lifecycle.store(database, storage, new.reference, incoming.reference.path)
    while True:
        with database.write() as session:
            imported = images.import_bitstream(session, new)
            if imported is not None:
                image, is_new = imported
                body = ImportedBitstream(image=to_out(image))
                if is_new:
                    run.note_standing(quotas.charge(session, incoming.owner, 1, len(incoming.data)))
                run.store_response(session, 201 if is_new else 200, body, body.image.links.self)
                return
        # Another request imported the same stream meanwhile, and its transaction used our reservation up.
        bitstreams.reserve(database, new.sha256)
