"""Texts that people give are kept exactly or refused with the reason, never trimmed."""

import pytest

from codec.description import Description, Item, check_description
from codec.errors import TextError


def test_long_and_odd_texts_are_kept() -> None:
    description = Description((Item("a", "word " * 100),), "\u202e🦊 Ünï\n")
    assert check_description(description) is description


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (Description((), "x" * 4001), "overall text has 4001"),
        (Description((Item("", "x" * 4001),), ""), "detail of item 1 has 4001"),
        (Description((Item("", "x" * 3000),), "y" * 3000), "together have 6000"),
        (Description((Item("", "x"),) * 4, ""), "has 4"),
        (Description((), "a\ud800b"), "surrogate"),
    ],
)
def test_what_cannot_be_stored_is_refused(description: Description, message: str) -> None:
    with pytest.raises(TextError, match=message):
        check_description(description)
