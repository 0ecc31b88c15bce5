"""Pictures opened in child processes: the same pixels, and nothing that a hostile file can take with it."""

import io
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from PIL import Image
from skimage import data

from codec.errors import (
    Cancelled,
    PictureEmpty,
    PictureTooCostly,
    PictureTooLarge,
    PictureTruncated,
    PictureUnrecognised,
    PictureUnsupported,
)
from codec.picture.capture import Capture
from codec.picture.open import PictureInfo, check_picture, open_picture, read_picture
from core.picture_reader import ChildPictureReader

CASES = Path(__file__).parents[1] / "cases"
PICTURES = ("avif", "bmp", "gif", "heic", "jp2", "jpg", "png", "ppm", "psd", "tif", "webp")


@pytest.fixture(scope="module")
def shared() -> Iterator[ChildPictureReader]:
    """One child for many files."""
    reader = ChildPictureReader(1)
    yield reader
    reader.close()


@pytest.fixture
def reader() -> Iterator[ChildPictureReader]:
    reader = ChildPictureReader(1)
    yield reader
    reader.close()


def _large_png(path: Path) -> Path:
    """Some 90 million pixels in 100 KB: more than a second of work."""
    Image.new("RGB", (9500, 9500)).save(path, compress_level=1)
    return path


def _children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "core.picture_child" in _command(child)]


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # a zombie too, which its parent has not waited for yet
        return ""


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "avif", "gif", "tiff", "bmp", "jxl", "heic"])
def test_every_format_is_the_same_picture_as_in_this_process(
    reader: ChildPictureReader, tmp_path: Path, suffix: str
) -> None:
    pytest.importorskip("pillow_jxl")
    import pillow_heif

    pillow_heif.register_heif_opener()
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(data.astronaut()[:200, :300]).save(path)
    assert reader.check(path) == check_picture(path)
    assert reader.open(path).picture.tobytes() == open_picture(path).tobytes()
    assert len(_children()) == 1


def test_large_picture_has_the_memory_that_its_size_needs(reader: ChildPictureReader, tmp_path: Path) -> None:
    """WebP's reader takes memory for the whole picture while it only reads the header."""
    path = tmp_path / "large.webp"
    Image.new("RGBA", (9900, 9900)).save(path, lossless=True, method=0)
    assert reader.check(path) == PictureInfo(9900, 9900, "image/webp")


def test_refusals_are_those_of_the_opener(reader: ChildPictureReader, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"")
    with pytest.raises(PictureEmpty):
        reader.check(path)
    buffer = io.BytesIO()
    Image.fromarray(data.coffee()).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue()[:20_000])
    with pytest.raises(PictureTruncated):
        reader.open(path)
    path.write_bytes(buffer.getvalue())
    with pytest.raises(PictureTooLarge):
        reader.open(path, max_pixels=1000)
    with pytest.raises(OSError):
        reader.open(tmp_path / "nowhere.png")
    assert reader.open(path).picture.size == (600, 400)


def test_picture_beyond_its_processor_time_ends_its_child_only(tmp_path: Path) -> None:
    # Some 98 million pixels in 60 bytes, with transparency to be put on white: two seconds of work.
    path = tmp_path / "large.webp"
    Image.new("RGBA", (9900, 9900), (9, 8, 7, 100)).save(path, lossless=True, method=0)
    reader = ChildPictureReader(1, cpu_seconds=0)
    with pytest.raises(PictureTooCostly):
        reader.open(path)
    small = tmp_path / "small.png"
    Image.new("RGB", (8, 8), (9, 8, 7)).save(small)
    assert reader.open(small).picture.getpixel((0, 0)) == (9, 8, 7)
    reader.close()


def test_picture_beyond_the_memory_of_its_size_is_refused(reader: ChildPictureReader, tmp_path: Path) -> None:
    """A TIFF of 8x8 pixels with twelve million strips: as Python's numbers they take most of a gigabyte."""
    count = 12_000_000
    tags = [
        (256, 3, 1, 8),
        (257, 3, 1, 8),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, count, 200),
        (278, 3, 1, 8),
        (279, 4, count, 200),
    ]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    path = tmp_path / "strips.tiff"
    path.write_bytes((b"II*\0" + struct.pack("<I", 8) + directory).ljust(200, b"\0") + b"\x01\x02\x03\0" * count)
    with pytest.raises(PictureTooCostly):
        reader.open(path)
    small = tmp_path / "small.png"
    Image.new("RGB", (8, 8)).save(small)
    assert reader.check(small).width == 8


def test_cancelled_request_kills_its_child(reader: ChildPictureReader, tmp_path: Path) -> None:
    path = _large_png(tmp_path / "large.png")
    flag = threading.Event()
    threading.Timer(0.6, flag.set).start()
    started = time.monotonic()
    with pytest.raises(Cancelled):
        while True:
            reader.open(path, cancelled=flag.is_set)
    assert time.monotonic() - started < 10
    assert not _children()


def test_child_killed_at_work_is_a_refusal_and_replaced(reader: ChildPictureReader, tmp_path: Path) -> None:
    path = _large_png(tmp_path / "large.png")

    def _kill() -> None:
        while not (children := _children()):
            time.sleep(0.01)
        time.sleep(0.7)
        children[0].send_signal(signal.SIGKILL)

    threading.Thread(target=_kill).start()
    with pytest.raises(PictureTooCostly):
        while True:
            reader.open(path)
    small = tmp_path / "small.png"
    Image.new("RGB", (8, 8)).save(small)
    assert reader.check(small).width == 8


def test_children_end_with_a_killed_parent(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "small.png")
    script = (
        "import sys, time; from pathlib import Path; from core.picture_reader import ChildPictureReader\n"
        "reader = ChildPictureReader(1); reader.check(Path(sys.argv[1])); print('ready', flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "small.png")],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert parent.stdout is not None and parent.stdout.readline() == b"ready\n"
    (child,) = psutil.Process(parent.pid).children()
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    child.wait(timeout=5)


def test_child_is_handed_no_secrets(
    reader: ChildPictureReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISC_API_KEYS", "secret")
    Image.new("RGB", (8, 8)).save(tmp_path / "small.png")
    reader.check(tmp_path / "small.png")
    assert not [name for name in _children()[0].environ() if name.startswith("MISC_")]


@pytest.mark.parametrize("name", sorted(path.name for path in CASES.iterdir() if path.suffix[1:] in PICTURES))
def test_cases_come_out_of_a_child_as_they_do_here_with_their_notes(shared: ChildPictureReader, name: str) -> None:
    try:
        here = read_picture(CASES / name)
    except PictureUnsupported as error:
        for read in (shared.open, shared.check):
            with pytest.raises(PictureUnsupported) as caught:
                read(CASES / name)
            assert str(caught.value) == str(error)
        return
    there = shared.open(CASES / name)
    assert there.picture.tobytes() == here.picture.tobytes() and there.notes == here.notes
    assert shared.check(CASES / name).width == here.picture.width


def test_when_and_where_is_read_in_the_child_too(shared: ChildPictureReader, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769).update({36867: "2026:11:29 12:34:56"})
    path = tmp_path / "a.jpg"
    Image.new("RGB", (9, 9)).save(path, exif=exif)
    assert shared.capture(path) == Capture("2026-11-29T12:34:56")
    path.write_bytes(b"no picture")
    with pytest.raises(PictureUnrecognised):
        shared.capture(path)
    assert shared.check(CASES / "picture.ppm") == check_picture(CASES / "picture.ppm")
