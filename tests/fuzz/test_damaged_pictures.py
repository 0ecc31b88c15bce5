"""Damaged pictures of nine formats, as uploads are opened: a picture or a typed error, within time and memory."""

import pytest

from bench.mutations import seeds
from bench.mutations.uploads import MOST_BYTES, MOST_SECONDS, examine_chunk

CHUNKS, UPLOADS_A_CHUNK = 4, 100
"""`python -m bench.mutations uploads` does 20,000."""


def test_there_are_pictures_of_nine_formats() -> None:
    assert len(seeds.pictures()) == 9


@pytest.mark.parametrize("number", range(CHUNKS))
def test_damaged_pictures_give_a_picture_or_a_typed_error_and_end_no_reader(number: int) -> None:
    chunk = examine_chunk(7, number, UPLOADS_A_CHUNK)
    assert [(finding.name, finding.fault) for finding in chunk.findings] == []
    assert chunk.slowest_seconds <= MOST_SECONDS and chunk.memory_bytes <= MOST_BYTES
    pictures = sum(times for outcome, times in chunk.outcomes.items() if outcome.endswith(" picture"))
    assert pictures >= UPLOADS_A_CHUNK // 20
