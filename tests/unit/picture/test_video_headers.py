"""Colours that the coded video of AVIF and HEIC tells where no box does, and headers that are cut off or damaged."""

import random
from pathlib import Path

import pytest

from codec.picture import heif_boxes
from codec.picture.colour import ColourSignal
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
