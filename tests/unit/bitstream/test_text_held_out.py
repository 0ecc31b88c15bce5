"""Bits a character on descriptions that were written after the prior was frozen."""

import json
from pathlib import Path

import pytest

from codec.bitstream.stream import Texts
from codec.bitstream.text.payload import decode_texts, encode_texts

FILE = Path(__file__).with_name("texts_held_out.json")


@pytest.fixture(scope="module")
def held_out() -> list[Texts]:
    entries = json.loads(FILE.read_text(encoding="utf-8"))
    return [Texts(tuple(item["detail"] for item in entry["items"]), entry["overall"]) for entry in entries]


def characters(texts: Texts) -> int:
    return sum(map(len, (*texts.details, texts.overall)))


def test_every_held_out_description_is_exact(held_out: list[Texts]) -> None:
    assert len(held_out) >= 40
    for texts in held_out:
        assert decode_texts(encode_texts(texts)) == texts


def test_held_out_descriptions_take_at_most_two_bits_a_character(held_out: list[Texts]) -> None:
    rates = [8 * len(encode_texts(texts)) / characters(texts) for texts in held_out]
    assert sum(rates) / len(rates) <= 2.0
    assert max(rates) <= 2.6
