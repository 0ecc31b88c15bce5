"""Names of fetched files fit any file system, whatever the originals were called."""

import pytest

from cli.commands.pull import _file_name

_ID = "0192f3c4-7b1e-7c00-8000-0123456789ab"


@pytest.mark.parametrize("letter", ["a", "\u00e9", "\u6f22", "\U0001f33b", "\ud800"])
def test_long_name_leaves_room_for_the_id_and_a_file_being_written(letter: str) -> None:
    name = _file_name({"name": f"x{letter * 400}.jpg", "id": _ID}, "misc")

    assert len(f".{name}.4194304.part".encode()) <= 255
    assert len(name.encode()) > 190
    assert name.startswith("x") and name.endswith("-456789ab.misc")


def test_short_name_is_kept() -> None:
    assert _file_name({"name": "../Gr\u00fc\u00dfe \U0001f33b.jpeg", "id": _ID}, "png") == (
        "Gr\u00fc\u00dfe \U0001f33b-456789ab.png"
    )
