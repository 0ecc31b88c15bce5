"""Names and JSON as they come from callers."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.uploads import parse_json_object, plain_name
from core.errors import RequestInvalid


@given(st.text(max_size=400))
def test_any_name_becomes_a_plain_file_name(name: str) -> None:
    kept = plain_name(name)
    assert 1 <= len(kept) <= 255
    assert not set("/\\\0\n\r") & set(kept)
    assert kept.strip(". ") != ""
    assert all(unicodedata.category(letter) not in ("Cc", "Cs") for letter in kept)
    assert plain_name(kept) == kept


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("bo\x07at\r\n.png", "boat.png"),
        ("a/b/", "picture"),
        ("e\u0301.png", "é.png"),
        ("  a .png ", "a .png"),
        ("...", "picture"),
    ],
)
def test_names_are_cleaned(name: str, kept: str) -> None:
    assert plain_name(name) == kept


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_refused(data: bytes) -> None:
    try:
        assert isinstance(parse_json_object(data, "It"), dict)
    except RequestInvalid as error:
        assert str(error).startswith("It ")


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9) | st.none(), max_size=4))
def test_objects_come_through_unchanged(value: dict[str, object]) -> None:
    import json

    assert parse_json_object(json.dumps(value), "It") == value
