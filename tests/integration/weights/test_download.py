"""Fetching one file from servers that behave, break, and lie."""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path

import pytest
from file_server import CONTENT, DIGEST, FileServer, Handler, dying, ranged, whole

from codec.errors import WeightsError
from codec.weights.download import Downloader, Expected, SourceFailed

PINNED = Expected(len(CONTENT), DIGEST)


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "net.part"


def ranges(server: FileServer) -> list[str | None]:
    return [request.headers.get("Range") for request in server.requests]


def test_file_arrives_whole_with_its_digest_and_no_note_stays(
    server: FileServer, downloader: Downloader, part: Path
) -> None:
    told: list[tuple[int, int | None]] = []

    digest = downloader.fetch(server.serve("/net", whole()), part, PINNED, lambda *step: told.append(step))

    assert (digest, part.read_bytes()) == (DIGEST, CONTENT)
    assert told[0] == (0, len(CONTENT)) and told[-1] == (len(CONTENT), len(CONTENT))
    assert [path.name for path in part.parent.iterdir()] == ["net.part"]


def test_line_that_breaks_is_taken_up_at_the_byte_where_it_broke(
    server: FileServer, downloader: Downloader, part: Path, waits: list[float]
) -> None:
    url = server.serve("/net", dying(100_000, ranged()))

    assert downloader.fetch(url, part, PINNED) == DIGEST

    assert ranges(server) == [None, "bytes=100000-"]
    assert server.requests[1].headers["If-Range"] == '"one"'
    assert waits == [1.0]


def test_server_without_ranges_starts_over_and_the_file_is_right(
    server: FileServer, downloader: Downloader, part: Path
) -> None:
    url = server.serve("/net", dying(100_000, whole(ETag='"one"')))

    assert downloader.fetch(url, part, PINNED) == DIGEST

    assert part.read_bytes() == CONTENT


def test_part_of_an_earlier_process_is_gone_on_from(server: FileServer, downloader: Downloader, part: Path) -> None:
    part.write_bytes(CONTENT[:200_000])
    url = server.serve("/net", ranged())

    assert downloader.fetch(url, part, PINNED) == DIGEST

    assert ranges(server) == ["bytes=200000-"]


def test_whole_part_of_a_killed_process_needs_no_request(
    server: FileServer, downloader: Downloader, part: Path
) -> None:
    part.write_bytes(CONTENT)

    assert downloader.fetch(server.url("/net"), part, PINNED) == DIGEST

    assert server.requests == []


def test_part_without_digest_or_validator_is_not_believed(
    server: FileServer, downloader: Downloader, part: Path
) -> None:
    part.write_bytes(b"x" * 200_000)

    assert downloader.fetch(server.serve("/net", ranged()), part, Expected()) == DIGEST

    assert ranges(server) == [None]


def test_file_that_changed_since_the_part_was_begun_is_fetched_anew(
    server: FileServer, downloader: Downloader, part: Path
) -> None:
    older = b"o" * 150_000
    url = server.serve("/net", dying(100_000, ranged(etag='"two"'), content=older, etag='"one"'))

    assert downloader.fetch(url, part, Expected()) == DIGEST

    assert server.requests[1].headers["If-Range"] == '"one"'
    assert part.read_bytes() == CONTENT


def test_server_that_goes_on_with_another_file_despite_if_range_is_noticed(
    server: FileServer, downloader: Downloader, part: Path
) -> None:
    def careless(handler: Handler, _: int) -> None:
        begin = handler.asked_from()
        told = f"bytes {begin}-{len(CONTENT) - 1}/{len(CONTENT)}"
        if begin:
            handler.reply(206, CONTENT[begin:], ETag='"two"', Content_Range=told)
        else:
            handler.reply(200, CONTENT, ETag='"two"')

    url = server.serve("/net", dying(100_000, careless, content=b"o" * 150_000))

    assert downloader.fetch(url, part, Expected()) == DIGEST

    assert ranges(server) == [None, "bytes=100000-", None]


def test_pieces_of_two_files_without_tags_do_not_pass_for_one(
    server: FileServer, downloader: Downloader, part: Path
) -> None:
    part.write_bytes(b"another file" * 1000)
    url = server.serve("/net", ranged(etag='W/"weak"'))

    assert downloader.fetch(url, part, PINNED) == DIGEST

    assert ranges(server) == ["bytes=12000-", None]
    assert part.read_bytes() == CONTENT


def test_range_that_begins_elsewhere_is_refused_and_the_file_fetched_whole(
    server: FileServer, downloader: Downloader, part: Path
) -> None:
    def elsewhere(handler: Handler, number: int) -> None:
        if handler.asked_from():
            handler.reply(206, CONTENT[5:], Content_Range=f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}")
        else:
            handler.reply(200, CONTENT)

    part.write_bytes(CONTENT[:1000])

    assert downloader.fetch(server.serve("/net", elsewhere), part, PINNED) == DIGEST


def test_part_longer_than_the_file_is_thrown_away(server: FileServer, downloader: Downloader, part: Path) -> None:
    part.write_bytes(CONTENT + b"more")

    assert downloader.fetch(server.serve("/net", ranged()), part, PINNED) == DIGEST


def test_status_416_is_answered_by_beginning_again(server: FileServer, downloader: Downloader, part: Path) -> None:
    part.write_bytes(CONTENT[:1000])
    url = server.serve("/net", lambda handler, n: handler.reply(416) if n == 0 else whole()(handler, n))

    assert downloader.fetch(url, part, PINNED) == DIGEST


def test_another_file_is_refused_and_nothing_of_it_stays(
    server: FileServer, downloader: Downloader, part: Path
) -> None:
    url = server.serve("/net", whole(CONTENT[:-1] + b"?"))

    with pytest.raises(SourceFailed, match="another file"):
        downloader.fetch(url, part, PINNED)

    assert list(part.parent.iterdir()) == []
    assert len(server.requests) == 1


def test_digest_prefix_of_a_file_name_is_held_to(server: FileServer, downloader: Downloader, part: Path) -> None:
    url = server.serve("/net", whole())

    assert downloader.fetch(url, part, Expected(sha256=DIGEST[:8])) == DIGEST
    part.unlink()
    with pytest.raises(SourceFailed, match="another file"):
        downloader.fetch(url, part, Expected(sha256="00000000"))


def test_promise_of_more_bytes_than_come_is_tried_a_few_times(
    server: FileServer, downloader: Downloader, part: Path, waits: list[float]
) -> None:
    def boasting(handler: Handler, _: int) -> None:
        handler.reply(200, CONTENT, Content_Length=str(len(CONTENT) * 2))
        handler.hang_up()

    with pytest.raises(SourceFailed, match="4 times"):
        downloader.fetch(server.serve("/net", boasting), part, Expected())

    assert waits == [1.0, 2.0, 4.0]


def test_source_that_sends_the_same_beginning_for_ever_is_left(
    server: FileServer, downloader: Downloader, part: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    monkeypatch.setattr("codec.weights.download._PROGRESS_BYTES", 1024)

    def lying(handler: Handler, number: int) -> None:
        """A piece that breaks off and a rest that does not fit, in turns."""
        if handler.asked_from():
            ranged(CONTENT[::-1])(handler, number)
        else:
            dying(100_000, whole())(handler, 0)

    with pytest.raises(SourceFailed, match="4 times"):
        downloader.fetch(server.serve("/net", lying), part, PINNED)

    assert len(waits) < 8


@pytest.mark.parametrize("told", [len(CONTENT) - 5, len(CONTENT) + 5, 10**15])
def test_size_other_than_the_published_one_is_refused_before_a_byte_is_taken(
    server: FileServer, downloader: Downloader, part: Path, told: int
) -> None:
    url = server.serve("/net", lambda handler, _: handler.reply(200, CONTENT[:10], Content_Length=str(told)))

    with pytest.raises(SourceFailed, match=str(told)):
        downloader.fetch(url, part, PINNED)

    assert not part.exists()


def test_endless_answer_is_cut_at_the_published_size(server: FileServer, downloader: Downloader, part: Path) -> None:
    def endless(handler: Handler, _: int) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        try:
            for _ in range(10_000):
                handler.wfile.write(b"10000\r\n" + bytes(65536) + b"\r\n")
        except OSError:
            handler.close_connection = True

    with pytest.raises(SourceFailed, match="more than"):
        downloader.fetch(server.serve("/net", endless), part, PINNED)

    assert not part.exists()


def test_answer_without_a_length_is_taken(server: FileServer, downloader: Downloader, part: Path) -> None:
    def chunked(handler: Handler, _: int) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(f"{len(CONTENT):x}\r\n".encode() + CONTENT + b"\r\n0\r\n\r\n")

    assert downloader.fetch(server.serve("/net", chunked), part, PINNED) == DIGEST


@pytest.mark.parametrize(
    ("status", "headers", "reason"),
    [
        (404, {}, "404"),
        (403, {}, "403"),
        (200, {"Content_Type": "text/html; charset=utf-8"}, "web page"),
        (200, {"Content_Encoding": "gzip"}, "packed"),
        (302, {"Location": "file:///etc/passwd"}, "leads nowhere"),
        (302, {"Location": "ftp://example.org/net"}, "leads nowhere"),
    ],
)
def test_what_will_not_become_better_is_not_asked_twice(
    server: FileServer, downloader: Downloader, part: Path, status: int, headers: dict[str, str], reason: str
) -> None:
    url = server.serve("/net", lambda handler, _: handler.reply(status, b"a page", **headers))

    with pytest.raises(SourceFailed, match=reason):
        downloader.fetch(url, part, Expected())

    assert len(server.requests) == 1


def test_redirects_are_followed_and_a_loop_of_them_ends(server: FileServer, downloader: Downloader, part: Path) -> None:
    server.serve("/there", ranged())
    url = server.serve("/here", lambda handler, _: handler.reply(302, Location="/there"))
    loop = server.serve("/loop", lambda handler, _: handler.reply(302, Location="/loop"))

    assert downloader.fetch(url, part, PINNED) == DIGEST
    part.unlink()
    with pytest.raises(SourceFailed, match="leads nowhere"):
        downloader.fetch(loop, part, PINNED)

    assert sum(request.path == "/loop" for request in server.requests) == 6


def test_busy_server_is_asked_again_when_it_said(
    server: FileServer, downloader: Downloader, part: Path, waits: list[float]
) -> None:
    url = server.serve(
        "/net", lambda handler, n: handler.reply(429, Retry_After="7") if n == 0 else ranged()(handler, n)
    )

    assert downloader.fetch(url, part, PINNED) == DIGEST

    assert waits == [7.0]


def test_server_that_asks_for_an_hour_is_left(
    server: FileServer, downloader: Downloader, part: Path, waits: list[float]
) -> None:
    url = server.serve("/net", lambda handler, _: handler.reply(503, Retry_After="3600"))

    with pytest.raises(SourceFailed, match="3600 s"):
        downloader.fetch(url, part, PINNED)

    assert waits == []


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 6000 + b"\r\n\r\nabc",
        b"HTTP/1.1 206 Partial\r\nContent-Length: 3\r\nContent-Range: bytes 0-2/" + b"9" * 6000 + b"\r\n\r\nabc",
        b"HTTP/1.1 429 Busy\r\nContent-Length: 0\r\nRetry-After: " + b"9" * 6000 + b"\r\n\r\n",
        b"\x00\x01\x02 nonsense\r\n\r\n",
        b"",
    ],
    ids=["length", "range", "wait", "nonsense", "silence"],
)
def test_hostile_answer_ends_as_a_failed_source(downloader: Downloader, part: Path, answer: bytes) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def speak() -> None:
        while True:
            try:
                line, _ = listener.accept()
            except OSError:
                return
            with line:
                line.recv(65536)
                line.sendall(answer)

    threading.Thread(target=speak, daemon=True).start()
    with listener, pytest.raises(SourceFailed):
        downloader.fetch(f"http://127.0.0.1:{listener.getsockname()[1]}/net", part, PINNED)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org/net", "net.pth", "http://", "http://[::1"])
def test_address_that_is_not_of_the_web_is_refused(downloader: Downloader, part: Path, url: str) -> None:
    with pytest.raises(SourceFailed):
        downloader.fetch(url, part, PINNED)


def test_full_disk_is_told_before_anything_is_written(
    server: FileServer, downloader: Downloader, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 1000))

    with pytest.raises(WeightsError, match="1,000 are free"):
        downloader.fetch(server.serve("/net", ranged()), part, PINNED)

    assert not part.exists()


def test_process_killed_in_the_middle_is_followed_by_one_that_goes_on(
    server: FileServer, downloader: Downloader, part: Path
) -> None:
    go_on = threading.Event()

    def slow(handler: Handler, number: int) -> None:
        if number:
            ranged()(handler, number)
            return
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.send_header("ETag", '"one"')
        handler.end_headers()
        handler.wfile.write(CONTENT[:150_000])
        handler.wfile.flush()
        go_on.wait(30)
        handler.close_connection = True

    url = server.serve("/net", slow)
    program = (
        "import sys; from pathlib import Path; from codec.weights.download import *;"
        "Downloader().fetch(sys.argv[1], Path(sys.argv[2]), Expected())"
    )
    process = subprocess.Popen([sys.executable, "-c", program, url, str(part)])
    deadline = time.monotonic() + 30
    while not (part.is_file() and part.stat().st_size == 150_000):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    go_on.set()

    # Nothing is pinned here: it is the note with the entity tag that makes the part worth something.
    assert json.loads(part.with_name("net.part.json").read_text()) == {"url": url, "validator": '"one"'}
    assert downloader.fetch(url, part, Expected()) == hashlib.sha256(CONTENT).hexdigest()
    assert ranges(server)[1:] == ["bytes=150000-"]
