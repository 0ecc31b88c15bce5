"""Sends stored objects: strong ETags, single ranges, HEAD. Knows objects, not what they belong to.

What is sent was verified: the whole object is read and hashed, and its last piece, or all of a small one, goes out only
when the digest is right. A caller sees 502 or a broken connection, never damaged bytes under a good ETag.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Generator
from dataclasses import dataclass
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse
from starlette.exceptions import HTTPException

from api.threads import StorageThreads
from core.errors import ObjectCorrupt
from core.storage import ObjectReader
from core.storage.verified import verified

_WHOLE_BYTES = 1024 * 1024
"""Up to this size an object is read in one go; a stream is a few KB."""

_DAMAGED = "The stored object is damaged: its bytes are not those that were stored."

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_TAG = re.compile(r'(?:W/)?("[^"]*")')


@dataclass(frozen=True)
class Download:
    """An object to send: its digest is its ETag; `name` is what a browser saves it as.

    `open` takes the keyword `fresh` of `Storage.open`, and `presign` `download_name` of `Storage.presigned_url`;
    `note_damaged` is called when what was read has another digest.
    """

    open: Callable[..., ObjectReader]
    note_damaged: Callable[[], None]
    presign: Callable[..., str | None]
    sha256: str
    size_bytes: int
    media_type: str
    name: str
    inline: bool = False


async def send_object(
    request: Request, threads: StorageThreads, download: Download, *, redirect: bool = False
) -> Response:
    """Answer a GET or HEAD; raises ObjectNotFound, ObjectCorrupt, and HTTPException 416 for a range beyond the end."""
    etag = f'"{download.sha256}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        # The bytes behind an address never change, but an image can be deleted: a cache has to revalidate (304).
        "Cache-Control": "private, no-cache",
        "Content-Disposition": _disposition(download.name, inline=download.inline),
    }
    if _names(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    if redirect:
        # Looking for credentials may mean a network call.
        address = await threads.run(download.presign, download_name=download.name)
        if address is not None:
            return RedirectResponse(address, 307, {"Cache-Control": "no-store"})
    start, end, status = 0, download.size_bytes, 200
    wanted = _range_of(request, etag, download.size_bytes)
    if wanted is not None:
        start, end = wanted
        status = 206
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{download.size_bytes}"
    headers["Content-Length"] = str(end - start)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=download.media_type)
    if download.size_bytes <= _WHOLE_BYTES:
        content = await threads.run(_whole, download, start, end)
        return Response(content, status, headers, download.media_type)
    reader = await threads.run(download.open)
    pieces = _verified(reader, start, end, download)
    return StreamingResponse(threads.iterate(pieces), status, headers, download.media_type)


def verified_pieces(download: Download) -> Generator[bytes, None, None]:
    """The whole object in pieces, the last of them when its digest is right; raises ObjectNotFound, ObjectCorrupt."""
    if download.size_bytes <= _WHOLE_BYTES:
        yield _whole(download, 0, download.size_bytes)
    else:
        yield from _verified(download.open(), 0, download.size_bytes, download)


def send_bytes(request: Request, content: bytes, media_type: str, name: str) -> Response:
    """Answer a GET with a small file that was made for it; the browser may show it again for an hour."""
    headers = {
        "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
        "Cache-Control": "private, max-age=3600",
        "Content-Disposition": _disposition(name, inline=True),
    }
    if _names(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(content, 200, headers, media_type)


def _whole(download: Download, start: int, end: int) -> bytes:
    """The bytes `[start, end)` of a small object, which is read a second time before it is believed to be damaged."""

    def _read(fresh: bool) -> tuple[str, bytes]:
        with download.open(fresh=fresh) as reader:
            content = reader.read_whole(_WHOLE_BYTES)
        return hashlib.sha256(content).hexdigest(), content[start:end]

    try:
        return verified(_read, "The stored object", download.sha256)
    except ObjectCorrupt as error:
        download.note_damaged()
        raise ObjectCorrupt(_DAMAGED) from error


def _verified(reader: ObjectReader, start: int, end: int, download: Download) -> Generator[bytes, None, None]:
    """The bytes `[start, end)` of an object that is read to its end; the last of them come when its digest is right.

    Raises ObjectCorrupt when it is not.
    """
    digest = hashlib.sha256()
    position, withheld = 0, b""
    with reader:
        for chunk in reader:
            digest.update(chunk)
            piece = chunk[max(0, start - position) : max(0, end - position)]
            position += len(chunk)
            if piece:
                if withheld:
                    yield withheld
                withheld = piece
    if digest.hexdigest() != download.sha256:
        download.note_damaged()
        raise ObjectCorrupt(_DAMAGED)
    if withheld:
        yield withheld


def _names(header: str | None, etag: str) -> bool:
    """True when an If-None-Match header lists the tag; the weak comparison of RFC 9110."""
    return header is not None and (header.strip() == "*" or etag in _TAG.findall(header))


def _range_of(request: Request, etag: str, size_bytes: int) -> tuple[int, int] | None:
    """The range to send as [start, end); None for all of it, also for several ranges and for what is no range."""
    match = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if match is None or match.groups() == ("", ""):
        return None
    condition = request.headers.get("if-range")
    if condition is not None and condition.strip() != etag:
        return None
    first, last = match.groups()
    if not first:
        start, end = max(size_bytes - int(last), 0), size_bytes
    else:
        start, end = int(first), min(int(last) + 1, size_bytes) if last else size_bytes
        if last and int(last) < start:
            return None
    if start >= size_bytes or end <= start:
        raise HTTPException(
            416, f"The object has {size_bytes} bytes.", headers={"Content-Range": f"bytes */{size_bytes}"}
        )
    return start, end


def _disposition(name: str, *, inline: bool) -> str:
    """Content-Disposition with a plain name for old readers and the exact one for all others (RFC 6266)."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9._ ()-]", "_", plain) or "download"
    kind = "inline" if inline else "attachment"
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def renamed(name: str, extension: str) -> str:
    """A file name with another extension: `a.png` becomes `a.misc`."""
    stem, dot, old = name.rpartition(".")
    base = stem if dot and stem and len(old) <= 5 else name
    return f"{base[:200]}.{extension}"
