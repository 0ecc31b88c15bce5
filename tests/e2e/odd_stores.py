"""An object store in this process that does without things which others have. It looks at no signature."""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


@contextmanager
def odd_store(
    *, refuses_conditions: bool = False, ignores_ranges: bool = False, tells_dates: bool = True
) -> Iterator[str]:
    """The address of a store that refuses `If-None-Match`, gives whole objects for ranges, or sends no
    `Last-Modified`."""
    objects: dict[str, tuple[bytes, dict[str, str]]] = {}

    class Store(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def _error(self, status: int, code: str) -> None:
            self._answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())

        @property
        def _key(self) -> str:
            return unquote(urlsplit(self.path).path)

        def _body(self) -> bytes:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if "aws-chunked" not in (self.headers.get("Content-Encoding") or ""):
                return data
            whole = b""
            while match := re.match(rb"([0-9a-f]+)[^\r]*\r\n", data):
                size = int(match[1], 16)
                whole, data = whole + data[match.end() :][:size], data[match.end() + size + 2 :]
            return whole

        def do_PUT(self) -> None:
            data = self._body()
            if refuses_conditions and self.headers.get("If-None-Match"):
                self._error(501, "NotImplemented")
                return
            if self.headers.get("If-None-Match") and self._key in objects:
                self._error(412, "PreconditionFailed")
                return
            kept = {name: value for name, value in self.headers.items() if name.lower().startswith("x-amz-meta-")}
            objects[self._key] = (data, kept)
            self._answer(200, headers={"ETag": f'"{hashlib.md5(data).hexdigest()}"'})

        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            if "list-type" in query:
                self._list(query.get("prefix", [""])[0])
                return
            if self._key not in objects:
                self._error(404, "NoSuchKey")
                return
            data, headers = objects[self._key]
            headers = headers | {"ETag": f'"{hashlib.md5(data).hexdigest()}"'}
            if tells_dates:
                headers["Last-Modified"] = "Mon, 30 Nov 2026 08:00:00 GMT"
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
            if wanted is None or ignores_ranges:
                self._answer(200, data, headers)
                return
            first, last = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
            self._answer(206, data[first : last + 1], headers | {"Content-Range": f"bytes {first}-{last}/{len(data)}"})

        def do_HEAD(self) -> None:
            if self._key.strip("/").count("/") == 0:
                self._answer(200)
            else:
                self.do_GET()

        def do_DELETE(self) -> None:
            objects.pop(self._key, None)
            self._answer(204)

        def do_POST(self) -> None:
            for key in re.findall(r"<Key>([^<]*)</Key>", self._body().decode()):
                objects.pop(f"/{self._key.strip('/')}/{key}", None)
            self._answer(200, b"<DeleteResult/>")

        def _list(self, prefix: str) -> None:
            bucket = f"/{self._key.strip('/')}/"
            date = "<LastModified>2026-11-30T08:00:00Z</LastModified>" if tells_dates else ""
            rows = "".join(
                f"<Contents><Key>{escape(key.removeprefix(bucket))}</Key>{date}<Size>{len(data)}</Size></Contents>"
                for key, (data, _) in sorted(objects.items())
                if key.startswith(bucket + prefix)
            )
            self._answer(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>".encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
