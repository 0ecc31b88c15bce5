"""Decides which things a picture certainly shows and where, from what the networks saw. No colours, no sentences."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from codec.encode.describe.concepts import Guess, concept, guess, probability_of
from codec.nets.tagger.sighting import Box, Floats, Rectangle, Sighting, View

SURE = 0.45
"""Summed probability from which a concept is said. Of 1,000 labelled photos (NIPS 2017, ImageNet's classes) 719
reach it, and the word is right for 707 of them."""

_SURE_OF_PART = 0.65
"""The same for a part that the classifier sees without its surroundings, where it errs more often."""

_TRACE = 0.02

_LANDSCAPE = ("mountains", "shore", "pier")
_SURROUNDINGS = (*_LANDSCAPE, "building", "bridge", "fence", "stone wall", "curtain", "field", "stage")
_FAINT = 0.1

_PART_OF_LANDSCAPE = 0.25
"""Mountains at a shore are no doubt about either: where land and water are sure together, each is said from here."""

_SURE_OF_KIND = 0.7
"""Share of a detected thing's concept that one kind of it needs to be said instead."""

_BOX_SCORE = 0.5
_LONE_BOX_SCORE = 0.75
"""What a box needs whose concept the classifier does not see there."""

_PERSON_SCORE = 0.6
_SUPPORT = 0.1
"""Probability of its concept that the classifier gives a box that it supports."""

_SAME_PLACE = 0.7
_COVERED = 0.6
_CROWD = 3

_CLASSIFIED = {"cow": "cattle"}
"""COCO's names of what the classifier knows by another one."""


@dataclass(frozen=True)
class Thing:
    """Something that is certainly there. `word` names it, `kind` is the next wider word or the same one; `mask` has
    any shape and is in [0, 1]. With `count` above 1 it is several of them."""

    word: str
    kind: str
    probability: float
    mask: Floats
    count: int = 1


def find_things(sighting: Sighting) -> list[Thing]:
    """What is there, the surest first; nothing twice."""
    things = _crowded(_agreed(_boxed(sighting), sighting.whole))
    seen = [thing.mask > 0.5 for thing in things]
    for part, view in zip(sighting.parts, sighting.part_views, strict=True):
        if any((part & mask).sum() > _COVERED * part.sum() for mask in seen):
            continue
        found = _of_part(view, sighting.whole)
        if found is not None and not _is_known(found, things):
            things.append(_thing(found, part.astype(np.float32)))
            seen.append(part)
    for scene in _scenes(sighting.whole):
        if not _is_known(scene, things):
            things.append(_thing(scene, _where(scene, sighting, seen)))
    return sorted(things, key=lambda thing: -thing.probability)


def _of_part(view: View, whole: View) -> Guess | None:
    """What a part shows: by itself and with its surroundings, or so surely that a trace in the surroundings will do."""
    found = guess(_mean(view, whole), SURE)
    if found is not None and probability_of(found.concept.word, view.probabilities) >= SURE:
        return found
    found = guess(view.probabilities, _SURE_OF_PART)
    is_plausible = found is not None and probability_of(found.concept.word, whole.probabilities) >= _TRACE
    return found if is_plausible else None


def _scenes(whole: View) -> list[Guess]:
    """What the whole picture shows: one thing, or the several kinds of land and water of a landscape."""
    found = guess(whole.probabilities, SURE)
    if sum(probability_of(word, whole.probabilities) for word in _LANDSCAPE) < SURE:
        return [] if found is None else [found]
    parts = [Guess(concept(word), probability_of(word, whole.probabilities)) for word in _LANDSCAPE]
    return [part for part in parts if part.probability >= _PART_OF_LANDSCAPE]


def _boxed(sighting: Sighting) -> list[Thing]:
    """Detected things that hold up; of boxes in one place that contradict each other the one with the best score."""
    kept: list[tuple[Box, Thing]] = []
    for box, view in zip(sighting.boxes, sighting.box_views, strict=True):
        rivals = [other.name for other, _ in kept if _are_rivals(other.name, box.name)]
        same_place = [o for o, _ in kept if o.rectangle.overlap(box.rectangle) > _SAME_PLACE]
        if any(other.name == box.name or other.name in rivals for other in same_place):
            continue
        seen = _mean(view, sighting.whole)
        if any(
            probability_of(_class_word(name), seen) > probability_of(_class_word(box.name), seen) for name in rivals
        ):
            continue
        thing = _thing_in(box, view, sighting)
        if thing is not None:
            kept.append((box, thing))
    return [thing for _, thing in kept]


def _agreed(things: Sequence[Thing], whole: View) -> list[Thing]:
    """Where the whole picture surely shows another animal or vehicle than a box, they agree on what both are."""
    found = guess(whole.probabilities, SURE)
    if found is None or not found.concept.kinds:
        return list(things)
    agreed = []
    for thing in things:
        word = _class_word(thing.word)
        if word != "person" and _are_rivals(word, found.concept.word) and word not in found.words:
            above = concept(word).kinds
            if found.concept.word not in above:
                shared = next(kind for kind in above if kind in found.words)
                thing = replace(thing, word=shared, kind=shared)
        agreed.append(thing)
    return agreed


def _thing_in(box: Box, view: View, sighting: Sighting) -> Thing | None:
    mask = _mask_in(box.rectangle, sighting.mask)
    if box.name == "person":
        return Thing("person", "person", box.score, mask) if box.score >= _PERSON_SCORE else None
    word = _class_word(box.name)
    supported = max(probability_of(word, v.probabilities) for v in (view, sighting.whole)) >= _SUPPORT
    if box.score < (_BOX_SCORE if supported else _LONE_BOX_SCORE):
        return None
    closer = guess(_mean(view, sighting.whole), _SURE_OF_KIND, within=word) if supported else None
    if closer is None:
        return Thing(box.name, box.name, box.score, mask)
    return Thing(closer.concept.word, closer.concept.kinds[0], box.score, mask)


def _are_rivals(one: str, other: str) -> bool:
    """Whether a thing cannot be both: two animals, or two vehicles."""
    if one == other or "person" in (one, other):
        return False
    families = [(name, *concept(name).kinds)[-1] for name in (_class_word(one), _class_word(other))]
    return families[0] == families[1]


def _class_word(name: str) -> str:
    """The classifier's word for a name of COCO's."""
    return _CLASSIFIED.get(name, name)


def _crowded(things: Sequence[Thing]) -> list[Thing]:
    """The same things with three and more of one word as one."""
    words = list(dict.fromkeys(thing.word for thing in things))
    found = []
    for word in words:
        alike = [thing for thing in things if thing.word == word]
        if len(alike) < _CROWD:
            found.extend(alike)
            continue
        mask = np.max([thing.mask for thing in alike], axis=0)
        found.append(Thing(word, alike[0].kind, alike[0].probability, mask, len(alike)))
    return found


def _is_known(found: Guess, things: Sequence[Thing]) -> bool:
    """Whether one of the things is that, a kind of it, or what it is a kind of."""
    for thing in things:
        if thing.word in found.words:
            return True
        if thing.word != "person" and found.concept.word in concept(_class_word(thing.word)).kinds:
            return True
    return False


def _thing(found: Guess, mask: Floats) -> Thing:
    return Thing(found.concept.word, (found.concept.kinds or found.words)[0], found.probability, mask)


def _mean(*views: View) -> Floats:
    mean: Floats = np.mean([view.probabilities for view in views], axis=0)
    return mean


def _mask_in(rectangle: Rectangle, mask: Floats) -> Floats:
    """What stands out in the rectangle; all of it where little does."""
    height, width = mask.shape
    inside = np.zeros_like(mask)
    rows = slice(int(rectangle.top * height), max(int(rectangle.bottom * height), int(rectangle.top * height) + 1))
    columns = slice(int(rectangle.left * width), max(int(rectangle.right * width), int(rectangle.left * width) + 1))
    part = mask[rows, columns]
    inside[rows, columns] = part if (part > 0.5).mean() > 0.15 else 1.0
    return inside


def _where(found: Guess, sighting: Sighting, seen: Sequence[npt.NDArray[np.bool_]]) -> Floats:
    """The places at which the classifier sees it, finest by what stands out if that is the same thing."""
    for part, view in zip(sighting.parts, sighting.part_views, strict=True):
        is_free = not any((part & mask).sum() > _COVERED * part.sum() for mask in seen)
        if is_free and probability_of(found.concept.word, view.probabilities) >= SURE:
            return part.astype(np.float32)
    logits = sighting.places
    likely = np.exp(logits - logits.max(axis=-1, keepdims=True))
    share = (likely[..., found.concept.classes].sum(axis=-1) / likely.sum(axis=-1)).astype(np.float32)
    side = sighting.mask.shape[0]
    where = np.asarray(Image.fromarray(share).resize((side, side), Image.Resampling.BILINEAR), np.float32)
    if found.words[-1] not in _SURROUNDINGS:
        # An object is part of what stands out; the classifier's places alone are 7 to a side.
        where = where * (_FAINT + sighting.mask)
    return where / max(float(where.max()), 1e-6)
