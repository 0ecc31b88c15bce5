"""One table of media types: every format that is read or written has its row there."""

import pytest

from codec import media
from codec.picture.formats import FORMATS
from codec.picture.save import MEDIA_TYPES, format_for


def test_every_format_that_is_read_can_be_stored_under_a_suffix_of_its_own() -> None:
    suffixes = [media.suffix_of(entry.media_type) for entry in FORMATS]
    assert len(set(suffixes)) == len(FORMATS)
    assert set(suffixes) <= media.PICTURE_SUFFIXES


@pytest.mark.parametrize("media_type", media.SUFFIXES)
def test_every_suffix_leads_back_to_its_type(media_type: str) -> None:
    for suffix in media.SUFFIXES[media_type]:
        assert media.media_type_of(f"a.b{suffix.upper()}") == media_type


def test_name_without_a_known_suffix_is_plain_bytes() -> None:
    assert {media.media_type_of(name) for name in ("", "a", "a.xyz", ".png")} == {media.BINARY}


def test_every_format_that_is_written_is_chosen_by_its_suffixes() -> None:
    for name, media_type in MEDIA_TYPES.items():
        assert {format_for(suffix) for suffix in media.SUFFIXES[media_type]} == {name}
