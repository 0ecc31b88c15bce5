"""Colours that the coded video of AVIF and HEIC tells where no box does, and headers that are cut off or damaged."""

import random
import struct
from pathlib import Path

import pytest

from codec.picture import heif_boxes
from codec.picture.colour import ColourSignal
from codec.picture.heif_boxes import ItemProperties, properties_of
from codec.picture.video_headers import av1_signal, hevc_signal

CASES = Path(__file__).parents[2] / "cases"


@pytest.mark.parametrize(
    ("name", "signal"),
    [
        ("avif_p3_without_colr.avif", ColourSignal(12, 13)),
        ("heic_pq_without_colr.heic", ColourSignal(9, 16)),
        ("frames.avif", ColourSignal(1, 13)),  # its header is not that of a still
    ],
)
def test_video_tells_the_colours_where_no_box_does(tmp_path: Path, name: str, signal: ColourSignal) -> None:
    path = tmp_path / name
    path.write_bytes((CASES / name).read_bytes().replace(b"colr", b"free"))
    with path.open("rb") as file:
        assert heif_boxes.properties_of(file).signal == signal


def test_box_counts_more_than_the_video() -> None:
    with (CASES / "avif_p3_nclx.avif").open("rb") as file:
        assert heif_boxes.properties_of(file).signal == ColourSignal(12, 13)


@pytest.mark.parametrize("read", [av1_signal, hevc_signal])
def test_headers_that_are_cut_off_or_damaged_end_without_an_error(read: object) -> None:
    data = {
        av1_signal: bytes.fromhex("12000a0938157fbd8404341a4032e013100000dd"),
        hevc_signal: (CASES / "heic_10bit_pq.heic").read_bytes().partition(b"hvcC")[2][:110],
    }[read]  # type: ignore[index]
    assert read(data) is not None  # type: ignore[operator]
    for end in range(len(data)):
        read(data[:end])  # type: ignore[operator]
    dice = random.Random(5)
    for _ in range(2_000):
        damaged = bytearray(data)
        damaged[dice.randrange(len(data))] = dice.randrange(256)
        read(bytes(damaged))  # type: ignore[operator]


@pytest.mark.parametrize("length", [3, 15, 1 << 31, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
@pytest.mark.parametrize("kind", [b"free", b"meta"])
def test_boxes_of_any_length_are_read_no_further_than_the_file(tmp_path: Path, kind: bytes, length: int) -> None:
    path = tmp_path / "a.avif"
    path.write_bytes(struct.pack(">I4sI4s", 16, b"ftyp", 0, b"avif") + struct.pack(">I4sQ", 1, kind, length))
    with path.open("rb") as file:
        assert properties_of(file) == ItemProperties()


def test_item_that_lies_beyond_the_file_says_nothing(tmp_path: Path) -> None:
    place = struct.pack(">BBHBBHHHQHQQ", 0, 0, 0, 0x88, 0x80, 1, 1, 0, (1 << 64) - 1, 1, (1 << 64) - 1, 9)
    av1 = struct.pack(">I4s4s", 12, b"av1C", b"\x81\0\0\0")
    ipco = struct.pack(">I4s", 8 + len(av1), b"ipco") + av1
    boxes = struct.pack(">I4s", 8 + len(ipco), b"iprp") + ipco + struct.pack(">I4s", 8 + len(place), b"iloc") + place
    path = tmp_path / "a.avif"
    path.write_bytes(struct.pack(">I4sI", 12 + len(boxes), b"meta", 0) + boxes)
    with path.open("rb") as file:
        assert properties_of(file).signal is None
