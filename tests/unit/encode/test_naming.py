"""What is said of a sighting: boxes and classes that agree, contradict each other, or are not sure."""

import numpy as np

from codec.encode.describe.naming import find_things
from codec.nets.tagger.sighting import WHOLE, Box, Rectangle, Sighting, View

MACAW, TABBY, BEAGLE, MOPED, TRICYCLE, PALACE, CASTLE, ALP, LAKE, VASE, BEACON = (
    88, 281, 162, 665, 870, 698, 483, 970, 975, 883, 437,
)  # fmt: skip
LEFT, RIGHT = Rectangle(0.05, 0.1, 0.45, 0.9), Rectangle(0.55, 0.1, 0.95, 0.9)


def view(shares: dict[int, float] | None = None, rectangle: Rectangle = WHOLE) -> View:
    found = np.full(1000, 1e-6, np.float32)
    for number, share in (shares or {}).items():
        found[number] = share
    return View(rectangle, found)


def part(rectangle: Rectangle) -> np.ndarray:
    mask = np.zeros((40, 40), bool)
    mask[int(rectangle.top * 40) : int(rectangle.bottom * 40), int(rectangle.left * 40) : int(rectangle.right * 40)] = (
        True
    )
    return mask


def sighting(
    whole: dict[int, float] | None = None,
    boxes: tuple[tuple[str, float, Rectangle, dict[int, float]], ...] = (),
    parts: tuple[tuple[Rectangle, dict[int, float]], ...] = (),
    places: np.ndarray | None = None,
) -> Sighting:
    masks = tuple(part(rectangle) for rectangle, _ in parts)
    return Sighting(
        mask=np.max([*masks, np.zeros((40, 40), bool)], axis=0).astype(np.float32),
        parts=masks,
        boxes=tuple(Box(name, score, rectangle) for name, score, rectangle, _ in boxes),
        whole=view(whole),
        part_views=tuple(view(shares, rectangle) for rectangle, shares in parts),
        box_views=tuple(view(shares, rectangle) for _, _, rectangle, shares in boxes),
        places=np.zeros((7, 7, 1000), np.float32) if places is None else places,
    )


def words(*arguments: object, **named: object) -> list[str]:
    return [thing.word for thing in find_things(sighting(*arguments, **named))]  # type: ignore[arg-type]


def test_box_is_named_by_the_kind_that_the_classifier_sees_in_it() -> None:
    (thing,) = find_things(sighting({MACAW: 0.4}, boxes=(("bird", 0.9, LEFT, {MACAW: 0.6}),)))
    assert (thing.word, thing.kind, thing.probability, thing.count) == ("macaw", "parrot", 0.9, 1)
    assert thing.mask[20, 10] == 1 and thing.mask[20, 30] == 0


def test_box_without_the_classifiers_support_needs_a_better_score() -> None:
    assert words(boxes=(("cat", 0.7, LEFT, {}),)) == []
    assert words(boxes=(("cat", 0.8, LEFT, {}),)) == ["cat"]
    assert words(boxes=(("cat", 0.55, LEFT, {TABBY: 0.2}),)) == ["cat"]
    assert words(boxes=(("person", 0.55, LEFT, {}),)) == []


def test_of_two_animals_in_one_place_the_better_score_counts() -> None:
    near = Rectangle(0.1, 0.2, 0.45, 0.9)
    assert words(boxes=(("dog", 0.9, LEFT, {BEAGLE: 0.6}), ("cat", 0.8, near, {BEAGLE: 0.6}))) == ["dog"]


def test_animal_that_the_classifier_takes_for_its_neighbours_kind_is_not_said() -> None:
    boxes = (("dog", 0.9, LEFT, {BEAGLE: 0.6}), ("cat", 0.8, RIGHT, {BEAGLE: 0.4, TABBY: 0.2}))
    assert words(boxes=boxes) == ["dog"]


def test_contradiction_between_box_and_picture_is_settled_by_a_wider_word() -> None:
    assert words({TRICYCLE: 0.9}, boxes=(("motorcycle", 0.95, LEFT, {MOPED: 0.5, TRICYCLE: 0.3}),)) == ["vehicle"]


def test_three_persons_are_people_and_two_are_two() -> None:
    third = Rectangle(0.46, 0.1, 0.54, 0.9)
    three = find_things(sighting(boxes=tuple(("person", 0.9, place, {}) for place in (LEFT, RIGHT, third))))
    assert [(thing.word, thing.count) for thing in three] == [("person", 3)]
    assert three[0].mask[20, 10] == three[0].mask[20, 30] == 1
    assert words(boxes=tuple(("person", 0.9, place, {}) for place in (LEFT, RIGHT))) == ["person", "person"]


def test_part_needs_a_trace_in_its_surroundings() -> None:
    assert words({VASE: 0.03}, parts=((LEFT, {VASE: 0.8}),)) == ["vase"]
    assert words({}, parts=((LEFT, {VASE: 0.8}),)) == []
    assert words({VASE: 0.6}, parts=((LEFT, {VASE: 0.5}),)) == ["vase"]


def test_part_that_a_box_covers_is_not_named_again() -> None:
    assert words(
        {MACAW: 0.6}, boxes=(("bird", 0.9, LEFT, {MACAW: 0.9}),), parts=((LEFT, {VASE: 0.9, MACAW: 0.1}),)
    ) == ["macaw"]


def test_kinds_that_compete_are_said_by_their_wider_word() -> None:
    assert words({PALACE: 0.3, CASTLE: 0.2}) == ["building"]
    assert words({PALACE: 0.2, CASTLE: 0.2}) == []


def test_mountains_at_a_lake_are_both_said() -> None:
    assert words({ALP: 0.35, LAKE: 0.4}) == ["shore", "mountains"]
    assert words({ALP: 0.15, LAKE: 0.6}) == ["shore"]


def test_scene_lies_where_the_classifier_sees_it() -> None:
    places = np.zeros((7, 7, 1000), np.float32)
    places[:3, :, BEACON] = 12
    (thing,) = find_things(sighting({BEACON: 0.8}, places=places))
    assert thing.word == "lighthouse"
    assert thing.mask[:12].min() > 0.9 and thing.mask[24:].max() < 0.05
