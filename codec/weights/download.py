"""Fetches one file over http(s): goes on where an earlier try ended, hashes what it writes, and never gives out bytes
whose digest is wrong. Knows nothing of weights; needs httpx, which is imported when the first fetch begins."""

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from codec.errors import WeightsError
from codec.loopback import LOOPBACK_HOSTS
from codec.weights.digest import CHUNK_BYTES, FREE_RESERVE_BYTES

if TYPE_CHECKING:
    import httpx

LIMIT_BYTES = 64 * 1024**3
"""Cap of a file whose size nobody published; the largest known one has 7 GB."""

_MAX_REDIRECTS = 5

_PROGRESS_BYTES = 1024 * 1024
"""A try that got this much further counts as a success of the line: long files over bad lines arrive in pieces."""

_STALL_BYTES, _STALL_SECONDS = 64 * 1024, 60.0
"""A server that sends less than this in that time is as good as silent, and another source may be quick."""

_LONGEST_WAIT_SECONDS = 60.0
"""Who asks for more patience is left for the next source."""

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)

_LENGTH = re.compile(r"\d{1,18}", re.ASCII)
"""Digits beyond those are no size, and Python refuses to read thousands of them."""

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here, and all bytes if that is known."""


class SourceFailed(Exception):
    """This address does not give the file, or gives another one; the message says why. Another may do."""


class _Interrupted(Exception):
    """The line broke, or the server asked to come back later; `wait_seconds` is what it asked for."""

    def __init__(self, reason: str, wait_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds


@dataclass(frozen=True)
class Expected:
    """What is known of a file beforehand. `sha256` may be a prefix; only a whole one `is_pinned`."""

    bytes: int | None = None
    sha256: str = ""

    @property
    def is_pinned(self) -> bool:
        """Whether the digest decides alone, whatever a server says."""
        return len(self.sha256) == 64

    @property
    def limit_bytes(self) -> int:
        """No more than this is ever written."""
        return LIMIT_BYTES if self.bytes is None else self.bytes


class Downloader:
    """Fetches files one after the other; a context manager that gives its connections back."""

    def __init__(
        self, *, tries: int = 4, timeout_seconds: float = 30.0, wait: Callable[[float], None] = time.sleep
    ) -> None:
        """`tries` at one address without progress; `wait` sleeps between them."""
        self._tries, self._timeout_seconds, self._wait = tries, timeout_seconds, wait
        self._client: httpx.Client | None = None

    def __enter__(self) -> "Downloader":
        """Use it in a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give the connections back."""
        if self._client is not None:
            self._client.close()

    def fetch(self, url: str, part: Path, expected: Expected, progress: Progress = lambda _done, _all: None) -> str:
        """Fetch `url` into `part` and return its SHA-256, which agrees with `expected`.

        What is in `part` from an earlier try, of this or another process, is gone on from when the server can prove
        that it still has the same file, or when the digest will. Raises SourceFailed, after which `part` holds what may
        be gone on from or does not exist, and WeightsError when the disk is full.
        """
        if not url.startswith(("http://", "https://")):
            raise SourceFailed("only http and https addresses are fetched")
        written = _Part(part, url, expected)
        if expected.is_pinned and written.sha256() == expected.sha256:
            # An earlier process was killed between the last byte and the move to the final name.
            return written.finish()
        failures, furthest = 0, written.size
        while True:
            try:
                self._try(url, written, expected, progress)
                break
            except _Interrupted as error:
                # Against the furthest and not the last try: a part that is thrown away again and again is no progress.
                failures = 1 if written.size - furthest >= _PROGRESS_BYTES else failures + 1
                furthest = max(furthest, written.size)
                if failures >= self._tries:
                    raise SourceFailed(f"{error}, {failures} times") from None
                seconds = 0.5 * 2**failures if error.wait_seconds is None else error.wait_seconds
                if seconds > _LONGEST_WAIT_SECONDS:
                    raise SourceFailed(f"{error}; it asks to come back in {seconds:.0f} s") from None
                self._wait(seconds)
        return written.finish()

    def _try(self, url: str, part: "_Part", expected: Expected, progress: Progress) -> None:
        import httpx

        if self._client is None:
            try:
                self._client = httpx.Client(
                    follow_redirects=True, max_redirects=_MAX_REDIRECTS, timeout=self._timeout_seconds,
                    headers={"Accept-Encoding": "identity", "User-Agent": "misc-archive"},
                    # Without a proxy for mirrors on this machine.
                    mounts=dict.fromkeys(LOOPBACK_HOSTS),
                )  # fmt: skip
            except (ImportError, ValueError, httpx.InvalidURL) as error:
                raise SourceFailed(
                    f"the proxy of HTTP_PROXY, HTTPS_PROXY or ALL_PROXY cannot be used ({error})"
                ) from None
        try:
            with self._client.stream("GET", url, headers=part.range_headers()) as answer:
                total = _read_head(answer, part, expected)
                part.check_room(total)
                self._read_body(answer, part, total, expected, progress)
        except (httpx.TooManyRedirects, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise SourceFailed(f"it leads nowhere ({error})") from None
        except httpx.HTTPError as error:
            raise _Interrupted(f"{type(error).__name__}: {error}") from None
        if total is not None and part.size < total:
            raise _Interrupted(f"only {part.size} of {total} bytes came")
        if expected.bytes is not None and part.size != expected.bytes:
            raise SourceFailed(f"it has {part.size} bytes, not {expected.bytes}")
        if not part.sha256().startswith(expected.sha256):
            found, was_resumed = part.sha256(), part.was_resumed
            part.discard()
            if was_resumed:
                # The older bytes may be of another file; the digest of a file in one piece says more.
                raise _Interrupted("the pieces do not fit together")
            raise SourceFailed(f"it sends another file: SHA-256 {found[:16]}..., not {expected.sha256[:16]}...")

    def _read_body(
        self, answer: "httpx.Response", part: "_Part", total: int | None, expected: Expected, progress: Progress
    ) -> None:
        progress(part.size, total)
        window_began, window_size = time.monotonic(), part.size
        with part.open() as file:
            for chunk in answer.iter_raw():
                if part.size + len(chunk) > expected.limit_bytes:
                    part.discard()
                    raise SourceFailed(f"it sends more than {expected.limit_bytes} bytes")
                part.append(file, chunk)
                progress(part.size, total)
                now = time.monotonic()
                if now - window_began > _STALL_SECONDS:
                    if part.size - window_size < _STALL_BYTES:
                        raise _Interrupted("it sends almost nothing")
                    window_began, window_size = now, part.size


def _read_head(answer: "httpx.Response", part: "_Part", expected: Expected) -> int | None:
    """Judge status and headers, take the part back to zero if the server starts over; returns the file's size."""
    hops = [*(response.url for response in answer.history), answer.url]
    if hops[0].scheme == "https" and any(hop.scheme != "https" for hop in hops):
        raise SourceFailed(f"it leads from https to {answer.url.scheme}://{answer.url.host}")
    if answer.status_code == 416 and part.size:
        part.discard()
        raise _Interrupted("it has fewer bytes than are here")
    if answer.status_code in (408, 425, 429) or answer.status_code >= 500:
        raise _Interrupted(f"status {answer.status_code}", _retry_after_seconds(answer.headers.get("retry-after")))
    if answer.status_code not in (200, 206):
        raise SourceFailed(f"status {answer.status_code}")
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise SourceFailed("it sends the file packed, which was not requested")
    if answer.headers.get("content-type", "").startswith("text/html"):
        raise SourceFailed("it sends a web page, not the file")
    length = _LENGTH.fullmatch(answer.headers.get("content-length", ""))
    total: int | None = int(length[0]) if length else None
    if answer.status_code == 206:
        content_range = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
        if content_range is None or int(content_range[1]) != part.size or part.is_of_another(answer.headers):
            part.discard()
            raise _Interrupted("it goes on at another byte than the requested one")
        total = None if content_range[3] == "*" else int(content_range[3])
        part.was_resumed = part.size > 0
    elif part.size:
        part.discard()
    if total is not None and (total > expected.limit_bytes or total != (expected.bytes or total)):
        raise SourceFailed(f"it has {total} bytes, not {expected.bytes or f'at most {LIMIT_BYTES}'}")
    part.note(answer.headers)
    return total


def _retry_after_seconds(retry_after: str | None) -> float | None:
    """Seconds of a Retry-After header; its other form, a date, is left to the usual waits."""
    return float(retry_after) if retry_after is not None and _LENGTH.fullmatch(retry_after) else None


class _Part:
    """The file that is being written, with the hash of what is in it and a note that says where that came from."""

    def __init__(self, path: Path, url: str, expected: Expected) -> None:
        self._path, self._url = path, url
        self._note_path = path.with_name(f"{path.name}.json")
        self._validator: str | None = None
        self._hash = hashlib.sha256()
        self.size, self.was_resumed = 0, False
        if path.is_file():
            note = self._read_note()
            self._validator = note.get("validator") if note.get("url") == url else None
            too_much = path.stat().st_size > expected.limit_bytes
            if too_much or not (expected.is_pinned or self._validator is not None):
                self.discard()
            else:
                self._hash_what_is_here()

    def range_headers(self) -> dict[str, str]:
        """Headers of a request for the rest."""
        if not self.size:
            return {}
        headers = {"Range": f"bytes={self.size}-"}
        return headers | {"If-Range": self._validator} if self._validator else headers

    def is_of_another(self, headers: Any) -> bool:
        """Whether the server gives the rest of another file than the one that was begun, though asked not to."""
        now = _validator_of(headers)
        return self._validator is not None and now is not None and now != self._validator

    def note(self, headers: Any) -> None:
        """Write down whose bytes these will be, before the first of them: a killed process can be followed."""
        self._validator = _validator_of(headers)
        self._note_path.write_text(json.dumps({"url": self._url, "validator": self._validator}))

    def check_room(self, total: int | None) -> None:
        """Raises WeightsError when the rest does not fit on the disk."""
        free = shutil.disk_usage(self._path.parent).free
        needed = (total or self.size) - self.size + FREE_RESERVE_BYTES
        if free < needed:
            raise WeightsError(
                f"{needed:,} bytes are needed in {self._path.parent} and {free:,} are free. Make room, or name another "
                "folder with MISC_WEIGHTS_PATH."
            )

    def open(self) -> BinaryIO:
        """The file, for `append`. Unbuffered: what counts as written is there when the process is killed."""
        return self._path.open("ab", buffering=0)

    def append(self, file: BinaryIO, chunk: bytes) -> None:
        """Write and hash a piece."""
        try:
            file.write(chunk)
        except OSError as error:
            raise WeightsError(f"{self._path} cannot be written: {error.strerror}.") from None
        self._hash.update(chunk)
        self.size += len(chunk)

    def sha256(self) -> str:
        """Digest of what is here."""
        return self._hash.hexdigest()

    def discard(self) -> None:
        """Take it back to nothing."""
        self._path.unlink(missing_ok=True)
        self._note_path.unlink(missing_ok=True)
        self._hash, self._validator = hashlib.sha256(), None
        self.size, self.was_resumed = 0, False

    def finish(self) -> str:
        """The note goes, the file stays; returns the digest."""
        self._note_path.unlink(missing_ok=True)
        return self.sha256()

    def _hash_what_is_here(self) -> None:
        with self._path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                self._hash.update(chunk)
                self.size += len(chunk)

    def _read_note(self) -> dict[str, Any]:
        try:
            note = json.loads(self._note_path.read_bytes())
        # No note, or one cut off by a kill: nothing is known of the part.
        except (OSError, ValueError):
            return {}
        return note if isinstance(note, dict) else {}


def _validator_of(headers: Any) -> str | None:
    """What proves in an If-Range that a file is still the same: a strong entity tag, or the date of the change."""
    tag = headers.get("etag")
    if tag and not tag.startswith("W/"):
        return str(tag)
    changed = headers.get("last-modified")
    return str(changed) if changed else None
