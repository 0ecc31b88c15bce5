"""Takes request bodies apart: forms go to temporary files while their digest is computed, JSON is checked when read.

Every temporary file lies in one folder that goes with the request, however it ends. What the files hold is not
looked at here.
"""

import contextlib
import hashlib
import json
import shutil
import tempfile
import unicodedata
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NoReturn

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from core.errors import RequestInvalid, UploadTooLarge
from core.temp_files import UPLOADS, space_errors
from models.image import FOLDER_LENGTH

_FEED_BYTES = 1024 * 1024
"""Parsed, hashed and written in one go in a worker thread; small against memory, large against the cost of a hop."""

_MAX_FIELDS = 32
_MAX_FIELD_BYTES = 256 * 1024
_MAX_NAME_CHARS = 255

_NO_ROOM = "The service has no room to receive uploads; try again later."

_DIRECTION_MARKS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They make `gpj.exe` read as something else; no name needs them."""


@dataclass(frozen=True)
class UploadedFile:
    """A file of a form: `name` is a plain file name, `field` the form's own name for it, `folder` what a relative path
    had before the name."""

    field: str
    name: str
    path: Path
    size_bytes: int
    sha256: str
    folder: str = ""

    @property
    def path_name(self) -> str:
        """The name with its folders in front."""
        return f"{self.folder}/{self.name}" if self.folder else self.name


@dataclass
class Form:
    """A form that was received to its end."""

    fields: dict[str, str] = field(default_factory=dict)
    files: list[UploadedFile] = field(default_factory=list)

    def file(self, name: str) -> UploadedFile:
        """The file under this field name; raises RequestInvalid when there is none, or more than one."""
        found = self.optional_file(name)
        if found is None:
            raise RequestInvalid(f"Send a file as the form field {name!r}.")
        return found

    def optional_file(self, name: str) -> UploadedFile | None:
        """The file under this field name, or None; raises RequestInvalid when there is more than one."""
        found = self.files_of(name)
        if len(found) > 1:
            raise RequestInvalid(f"The form has {len(found)} files {name!r}; send one.")
        return found[0] if found else None

    def files_of(self, name: str) -> list[UploadedFile]:
        """All files under this field name, in their order."""
        return [file for file in self.files if file.field == name]

    def json_object(self, name: str) -> dict[str, Any]:
        """A field that holds a JSON object; empty when the field is not there. Raises RequestInvalid."""
        text = self.fields.get(name, "")
        return parse_json_object(text, f"The form field {name!r}") if text.strip() else {}

    def check_names(self, *, fields: tuple[str, ...] = (), files: tuple[str, ...]) -> None:
        """Raise RequestInvalid for a part that nothing would look at, which is most likely a slip."""
        for name in self.fields:
            if name not in fields:
                known = ", ".join(fields) or "none"
                raise RequestInvalid(f"The form has an unknown field {name[:80]!r}; known besides files: {known}.")
        for file in self.files:
            if file.field not in files:
                raise RequestInvalid(f"The form has a file {file.field[:80]!r}; known files: {', '.join(files)}.")


@contextlib.asynccontextmanager
async def received_form(request: Request, *, max_files: int) -> AsyncIterator[Form]:
    """Receive a `multipart/form-data` body; its files are there until the block ends.

    Raises RequestInvalid for what is no such form or ends early, UploadTooLarge for more than `max_files` files,
    SpaceExhausted when the temporary files have no room.
    """
    boundary = _boundary_of(request)
    with space_errors(_NO_ROOM):
        folder = Path(tempfile.mkdtemp(prefix=UPLOADS))
    receiver = _Receiver(folder, boundary, max_files)
    try:
        buffer = bytearray()
        with space_errors(_NO_ROOM):
            async for chunk in request.stream():
                buffer += chunk
                if len(buffer) >= _FEED_BYTES:
                    await run_in_threadpool(receiver.feed, bytes(buffer))
                    buffer.clear()
            await run_in_threadpool(receiver.end, bytes(buffer))
        yield receiver.form
    finally:
        with contextlib.suppress(OSError):
            receiver.close()
        shutil.rmtree(folder, ignore_errors=True)


async def read_json_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object; empty for an empty body. Raises RequestInvalid."""
    body = await request.body()
    if not body.strip():
        return {}
    media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise HTTPException(415, "Send the options as application/json.")
    return parse_json_object(body, "The body")


def parse_json_object(text: str | bytes, what: str) -> dict[str, Any]:
    """A JSON object of plain values; raises RequestInvalid for anything that could not be stored or sent back."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
        # Half a surrogate pair is valid JSON and no text: neither database nor answer could hold it.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise RequestInvalid(f"{what} is no JSON that can be read: {error}.") from None
    if not isinstance(value, dict):
        raise RequestInvalid(f'{what} has to be a JSON object such as {{"maps": false}}.')
    return value


def plain_name(name: str, default: str = "picture") -> str:
    """A file name without folders, control characters and tricks, of 1 to 255 characters."""
    last = name.replace("\\", "/").rpartition("/")[2]
    kept = "".join(
        letter
        for letter in unicodedata.normalize("NFC", last)
        if unicodedata.category(letter) not in ("Cc", "Cs", "Zl", "Zp") and letter not in _DIRECTION_MARKS
    ).strip()
    if not kept.strip("."):
        return default
    if len(kept) > _MAX_NAME_CHARS:
        stem, dot, extension = kept.rpartition(".")
        if not dot or len(extension) > 16:
            return kept[:_MAX_NAME_CHARS]
        kept = f"{stem[: _MAX_NAME_CHARS - len(extension) - 1]}.{extension}"
    return kept


def plain_folder(name: str) -> str:
    """The folders before a file's name, each as plain as a name, as `2024/may`; empty for a path that is not relative.

    Raises RequestInvalid where they are too long to be kept.
    """
    parts = name.replace("\\", "/").split("/")[:-1]
    if not parts or parts[0] == "" or ":" in parts[0]:
        return ""  # where it lay on the caller's machine is nobody's business
    folder = "/".join(plain_name(part, "folder") for part in parts if part not in ("", ".", ".."))
    if len(folder) > FOLDER_LENGTH:
        raise RequestInvalid(f"The folders before a file's name have at most {FOLDER_LENGTH} characters.")
    return folder


def is_form(request: Request) -> bool:
    """True when the body is announced as a form with files."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "multipart/form-data"


def _boundary_of(request: Request) -> bytes:
    if not is_form(request):
        raise HTTPException(415, "Send the picture as multipart/form-data, for instance: curl -F file=@picture.jpg")
    _, parameters = parse_options_header(request.headers["content-type"])
    boundary = parameters.get(b"boundary", b"")
    if not boundary:
        raise RequestInvalid("The Content-Type names no boundary; let the HTTP library set this header.")
    return boundary


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


class _Receiver:
    """Callbacks of the form parser. Everything runs in worker threads, one call at a time."""

    def __init__(self, folder: Path, boundary: bytes, max_files: int) -> None:
        self.form = Form()
        self._folder, self._max_files = folder, max_files
        self._ended = False
        self._header_name, self._header_value = bytearray(), bytearray()
        self._disposition = b""
        self._field_name = ""
        self._file_name: str | None = None
        self._folder_name = ""
        self._value = bytearray()
        self._file: IO[bytes] | None = None
        self._path = folder
        self._digest = hashlib.sha256()
        self._size_bytes = 0
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_begin": self._on_header_begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
            )
        except FormParserError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise RequestInvalid(f"The form cannot be read: {error}.") from None

    def feed(self, data: bytes) -> None:
        """Parse the next bytes; raises RequestInvalid and UploadTooLarge."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise RequestInvalid(f"The form cannot be read: {error}.") from None

    def end(self, data: bytes) -> None:
        """Parse the last bytes; raises RequestInvalid when the form is not complete."""
        self.feed(data)
        if not self._ended:
            raise RequestInvalid("The form ends before its last boundary; was the upload cut off?")

    def close(self) -> None:
        """Close a file that was being written."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _on_part_begin(self) -> None:
        self._disposition = b""

    def _on_header_begin(self) -> None:
        self._header_name.clear()
        self._header_value.clear()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)

    def _on_headers_finished(self) -> None:
        kind, parameters = parse_options_header(self._disposition)
        if kind != b"form-data" or b"name" not in parameters:
            raise RequestInvalid("A part of the form has no name; let the HTTP library build the form.")
        self._field_name = parameters[b"name"].decode("utf-8", "replace")
        if b"filename" not in parameters:
            self._file_name = None
            self._value.clear()
            if self._field_name in self.form.fields:
                raise RequestInvalid(f"The form has the field {self._field_name[:80]!r} more than once; send one.")
            if len(self.form.fields) >= _MAX_FIELDS:
                raise RequestInvalid(f"The form has more than {_MAX_FIELDS} fields.")
            return
        if len(self.form.files) >= self._max_files:
            raise UploadTooLarge(f"The form has more than the {self._max_files} files that are taken at once.")
        given = parameters[b"filename"].decode("utf-8", "replace")
        self._file_name, self._folder_name = plain_name(given), plain_folder(given)
        self._path = self._folder / str(len(self.form.files))
        self._file = self._path.open("xb")
        self._digest, self._size_bytes = hashlib.sha256(), 0

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        piece = memoryview(data)[start:end]
        if self._file is not None:
            self._file.write(piece)
            self._digest.update(piece)
            self._size_bytes += len(piece)
            return
        if len(self._value) + len(piece) > _MAX_FIELD_BYTES:
            raise RequestInvalid(f"The form field {self._field_name[:80]!r} is too long; send files with a file name.")
        self._value += piece

    def _on_part_end(self) -> None:
        if self._file is None:
            self.form.fields[self._field_name] = self._value.decode("utf-8", "replace")
            return
        self.close()
        assert self._file_name is not None
        self.form.files.append(
            UploadedFile(
                self._field_name,
                self._file_name,
                self._path,
                self._size_bytes,
                self._digest.hexdigest(),
                self._folder_name,
            )
        )

    def _on_end(self) -> None:
        self._ended = True
