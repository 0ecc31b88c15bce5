"""Wording of named and unnamed subjects: numbers of words, articles, plurals, colours."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from codec.encode.describe.colours import Colour
from codec.encode.describe.overview import Overview
from codec.encode.describe.traits import Likeness, Shape, Traits
from codec.encode.describe.words import Subject, describe_in_words, plural

RED, BLUE = Colour("red", "red"), Colour("dark grey-blue", "blue")
TRAITS = Traits(
    share=0.2, colours=((RED, 0.6), (BLUE, 0.3)), lightness=50.0, lightness_spread=3.0, roughness=2.0, grain="",
    shape=Shape.COMPACT, x=0.8, y=0.5, width=0.3, height=0.4, likeness=Likeness.NONE,
)  # fmt: skip
OVERVIEW = Overview(2, 3, 2, False, ("red", "dark grey-blue", "pale yellow"), 1, "", "", None)


def described(*subjects: Subject):
    return describe_in_words(subjects, OVERVIEW)


def test_named_thing_has_its_colour_in_the_name_and_the_wider_word_in_the_detail() -> None:
    found = described(Subject(TRAITS, "macaw", "parrot"))
    assert [(item.name, item.detail) for item in found.items] == [
        ("red macaw", "red and dark grey-blue parrot on the right")
    ]
    assert found.overall.startswith("The image shows a red macaw, in a medium-bright picture")


def test_person_has_no_colour_of_its_own() -> None:
    item = described(Subject(TRAITS, "person", "person", has_colour=False)).items[0]
    assert (item.name, item.detail) == ("person", "person on the right, mostly red and dark grey-blue")


def test_two_alike_are_told_apart_by_place_and_counted_in_the_overall_text() -> None:
    left = Subject(replace(TRAITS, x=0.2), "person", "person", has_colour=False)
    found = described(left, replace(left, traits=TRAITS))
    assert [item.name for item in found.items] == ["person", "right person"]
    assert found.overall.startswith("The image shows two people, in")


def test_several_are_plural() -> None:
    found = described(Subject(TRAITS, "person", "person", count=3, has_colour=False))
    assert (found.items[0].name, found.items[0].detail.split()[:2]) == ("people", ["three", "people"])
    assert "three people" in found.overall and "The people on the right take up" in found.overall
    assert [plural(word) for word in ("bus", "church", "wolf", "sheep", "canary", "monkey", "mountains")] == [
        "buses", "churches", "wolves", "sheep", "canaries", "monkeys", "mountains",
    ]  # fmt: skip


def test_what_is_always_plural_has_no_article() -> None:
    overall = described(Subject(TRAITS, "mountains", "mountains")).overall
    assert "shows red mountains, in" in overall and "The mountains on the right take up" in overall
    assert "takes up" in described(Subject(TRAITS, "food", "food")).overall


def test_long_colours_leave_a_name_of_three_words() -> None:
    traits = replace(TRAITS, colours=((BLUE, 0.9),))
    assert described(Subject(traits, "street sign", "street sign")).items[0].name == "street sign"
    assert described(Subject(traits, "cat", "cat")).items[0].name == "dark grey-blue cat"


@pytest.mark.parametrize("seed", range(20))
def test_limits_hold_for_any_subjects(seed: int) -> None:
    random = np.random.default_rng(seed)
    words = ("", "", "street sign", "macaw", "person", "musical instrument", "mountains")
    for _, shape, likeness in product(range(5), Shape, Likeness):
        subjects = [
            Subject(
                replace(
                    TRAITS, share=float(random.random()), x=float(random.random()), y=float(random.random()),
                    width=float(random.random()), height=float(random.random()), shape=shape, likeness=likeness,
                    colours=((BLUE, 0.5), (RED, 0.4)), roughness=float(random.random() * 15),
                    grain=str(random.choice(["", "horizontal"])),
                ),
                word := str(random.choice(words)), word, count=int(random.integers(1, 5)) if word else 1,
                has_colour=word != "person",
            )
            for _ in range(int(random.integers(1, 4)))
        ]  # fmt: skip
        overview = replace(OVERVIEW, light=int(random.integers(5)), horizon=0.5, brighter_side="top")
        found = describe_in_words(subjects, overview)
        assert all(len(item.name.split()) <= 3 and len(item.detail.split()) <= 10 for item in found.items)
        assert 40 <= len(found.overall.split()) <= 60, found.overall
