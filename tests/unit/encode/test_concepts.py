"""The hierarchy of concepts: sums, and how far up one climbs before a word is said."""

import numpy as np
import pytest

from codec.encode.describe.concepts import concept, concepts, guess, probability_of

MACAW, COCKATOO, OWL, GOLDFISH, CAR, PADLOCK = 88, 89, 24, 1, 817, 695


def probabilities(**shares: float) -> np.ndarray:
    found = np.full(1000, 1e-6, np.float32)
    for name, share in shares.items():
        found[globals()[name.upper()]] = share
    return found


def word(threshold: float = 0.5, within: str | None = None, **shares: float) -> str | None:
    found = guess(probabilities(**shares), threshold, within)
    return None if found is None else found.concept.word


def test_narrowest_word_that_is_sure_is_said() -> None:
    assert word(macaw=0.7, owl=0.2) == "macaw"
    assert word(macaw=0.4, cockatoo=0.4, owl=0.1) == "parrot"
    assert word(macaw=0.3, cockatoo=0.1, owl=0.45) == "bird"
    assert word(macaw=0.3, owl=0.2, goldfish=0.45) == "animal"


def test_animals_and_vehicles_need_more_than_other_things() -> None:
    assert word(padlock=0.55) == "padlock"
    assert word(car=0.55) is None
    assert word(car=0.65) == "sports car"


def test_broad_words_are_not_said_for_what_every_picture_gets_a_little_of() -> None:
    assert word(macaw=0.3, owl=0.1, goldfish=0.4) is None


def test_shares_within_a_concept_are_of_its_own_probability() -> None:
    assert word(0.7, within="bird", macaw=0.15, owl=0.02, car=0.8) == "macaw"
    assert word(0.7, within="bird", macaw=0.1, owl=0.1, car=0.8) is None


def test_words_lead_up_to_the_widest() -> None:
    assert concept("macaw").kinds == ("parrot", "bird", "animal")
    assert concept("lighthouse").kinds == ("building",)
    assert concept("sports car").kinds == ("car", "vehicle")


def test_every_concept_lies_within_those_above_it_and_no_word_is_there_twice() -> None:
    words = [one.word for one in concepts()]
    assert len(words) == len(set(words)) > 150
    for one in concepts():
        assert one.classes.size and one.classes.min() >= 0 and one.classes.max() < 1000
        for kind in one.kinds:
            assert set(one.classes) <= set(concept(kind).classes), (one.word, kind)
        assert len(one.word.split()) <= 2, "a colour has to find room in a name of three words"


def test_probability_is_the_sum_of_all_classes() -> None:
    assert probability_of("bird", probabilities(macaw=0.25, owl=0.5)) == pytest.approx(0.75, abs=1e-3)
    with pytest.raises(LookupError, match="unicorn"):
        concept("unicorn")
