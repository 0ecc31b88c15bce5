"""Names of objects: what makes them, and that nothing else passes as one."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from codec.media import media_type_of
from core.storage import keys

DIGEST = "0123456789abcdef" * 4


def test_keys_are_named_after_kind_digest_and_extension() -> None:
    assert keys.bitstream_key(DIGEST) == f"bitstreams/{DIGEST}.misc"
    assert keys.reconstruction_key(DIGEST, "png") == f"reconstructions/{DIGEST}.png"
    assert keys.reference_key(DIGEST, "webp") == f"references/{DIGEST}.webp"
    assert keys.original_key("img_01jd7w") == "originals/img_01jd7w"
    assert keys.original_key("img_01jd7w", "jpg") == "originals/img_01jd7w.jpg"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "bitstreams/",
        f"bitstreams/{DIGEST}",
        f"bitstreams/{DIGEST}.misc\n",
        f"bitstreams/{DIGEST.upper()}.misc",
        f"bitstreams/{DIGEST[:-1]}.misc",
        f"bitstreams/{DIGEST[:-1]}g.misc",
        f"/bitstreams/{DIGEST}.misc",
        f"./bitstreams/{DIGEST}.misc",
        f"bitstreams/../bitstreams/{DIGEST}.misc",
        f"elsewhere/{DIGEST}.misc",
        f"reconstructions/{DIGEST}",
        f"reconstructions/{DIGEST}.p/g",
        "originals/..",
        "originals/../../etc/passwd",
        "originals/.hidden",
        "originals/a/b",
        "originals/a\\b",
        "originals/a\0b",
        "originals/IMG",
        "originals/a.b.c",
        "originals/" + "a" * 65,
        "originals/\u00e9",
        "originals/\uff0e\uff0e",
        "probes/writable",
    ],
)
def test_names_that_nothing_here_makes_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match="no name of an object"):
        keys.check_key(key)


@given(identifier=st.text(max_size=80), extension=st.text(max_size=12))
@example(identifier="..", extension="")
@example(identifier="a/../..", extension="png")
def test_whatever_an_identifier_is_the_key_stays_one_name_in_its_folder(identifier: str, extension: str) -> None:
    try:
        key = keys.original_key(identifier, extension)
    except ValueError:
        return
    folder, _, name = key.partition("/")
    assert folder == "originals"
    assert "/" not in name and not name.startswith(".") and ".." not in name
    assert name.isascii() and name.isprintable() and name == name.lower()


def test_digest_is_told_for_content_addressed_keys_only() -> None:
    assert keys.digest_in(keys.bitstream_key(DIGEST)) == DIGEST
    assert keys.digest_in(keys.reconstruction_key(DIGEST, "png")) == DIGEST
    assert keys.digest_in(keys.reference_key(DIGEST, "png")) == DIGEST
    assert keys.digest_in(keys.original_key(DIGEST, "jpg")) == keys.digest_in(keys.original_key(DIGEST)) == DIGEST
    assert keys.digest_in(keys.original_key(DIGEST[:60])) is None


def test_objects_of_one_moment_are_spread_over_many_folders() -> None:
    originals = [keys.fan_out(keys.original_key(f"img_01jd7wk0000000000000000{n:03}")) for n in range(1000)]
    assert len(set(originals)) > 240
    assert keys.fan_out(keys.bitstream_key(DIGEST)) == "01"


@pytest.mark.parametrize("prefix", ["", "/", "bitstreams", "other/", "bitstreams/../", "originals/a.", "bitstreams//"])
def test_prefixes_outside_the_four_folders_are_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="no beginning"):
        keys.check_prefix(prefix)


def test_content_types_follow_the_extension() -> None:
    assert media_type_of(keys.bitstream_key(DIGEST)) == "application/vnd.misc-archive"
    assert media_type_of(keys.reconstruction_key(DIGEST, "avif")) == "image/avif"
    assert media_type_of(keys.original_key("img_1")) == "application/octet-stream"
    assert media_type_of(keys.original_key("img_1", "xyz")) == "application/octet-stream"
