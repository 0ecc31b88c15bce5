"""Puts what is known of a picture into plain words: names of at most 3 words, details of at most 10, an overall text of
40 to 60.

Says only what was recognised or measured; a likeness ("sky-like") is worded as one.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from codec.description import Description, Item
from codec.encode.describe.overview import Overview
from codec.encode.describe.traits import Likeness, Shape, Traits
from codec.limits import MAX_DETAIL_WORDS, MAX_NAME_WORDS

_FEWEST_WORDS, _MOST_WORDS = 40, 60

_PLURALS = {"person": "people", "wolf": "wolves", "fish": "fish", "sheep": "sheep", "aircraft": "aircraft"}
_ALWAYS_PLURAL = ("mountains", "sunglasses", "cattle")
_UNCOUNTED = ("food", "furniture", "hay", "maize")

# Name and detail of each shape or likeness; both are free of colour.
_NOUNS = {
    Shape.WHOLE: ("surface", "surface"),
    Shape.SURROUND: ("background", "background"),
    Shape.BAND: ("band", "wide band"),
    Shape.COLUMN: ("column", "tall column"),
    Shape.STRIP: ("strip", "narrow slanting strip"),
    Shape.ROUND: ("shape", "round shape"),
    Shape.BLOCK: ("block", "rectangular block"),
    Shape.COMPACT: ("shape", "compact shape"),
    Shape.IRREGULAR: ("area", "irregular area"),
}
_LIKENESS_NOUNS = {
    Likeness.SKY: ("sky", "sky-like area"),
    Likeness.FOLIAGE: ("foliage", "foliage-like area"),
    Likeness.WATER: ("water", "water-like area"),
    Likeness.SKIN: ("shape", "skin-toned shape"),
}


@dataclass(frozen=True)
class Subject:
    """What an item is about: a part of the picture, and its word and a wider one where something recognised it.

    With `count` above 1 the part shows several of them. `has_colour` is False where a colour would belong to what the
    thing wears.
    """

    traits: Traits
    word: str = ""
    kind: str = ""
    count: int = 1
    has_colour: bool = True


def describe_in_words(subjects: Sequence[Subject], overview: Overview) -> Description:
    """The description of a picture from its subjects, most distinct first, and its overview."""
    items = tuple(Item(name, detail_of(subject)) for name, subject in zip(_names(subjects), subjects, strict=True))
    return Description(items, _overall(subjects, overview))


def detail_of(subject: Subject) -> str:
    """One subject in at most 10 words, e.g. "smooth pale blue sky-like area across the top"."""
    region, place = subject.traits, position_of(subject.traits)
    texture, noun, first, both = _texture(region), _noun(subject)[1], _colours(region), _colours(region, both=True)
    if not subject.word:
        forms = [f"{texture} {both} {noun} {place}", f"{texture} {first} {noun} {place}", f"{first} {noun} {place}"]
    elif subject.has_colour:
        forms = [f"{both} {noun} {place}", f"{first} {noun} {place}", f"{noun} {place}"]
    else:
        place = place.removeprefix("mostly ")
        forms = [f"{noun} {place}, mostly {both}", f"{noun} {place}, mostly {first}", f"{noun} {place}"]
    return next((form for form in forms if _count(form) <= MAX_DETAIL_WORDS), forms[-1])


def position_of(region: Traits) -> str:
    """Where a region lies, in thirds of the picture."""
    if region.shape is Shape.WHOLE:
        return "filling the whole picture"
    x, y = region.x, region.y
    if region.width > 0.85 and region.height > 0.85:
        if region.share > 0.5:
            return "filling most of the picture"
        # It reaches everywhere, so only its centre of weight says where most of it is.
        x, y = 0.5 + 3 * (x - 0.5), 0.5 + 3 * (y - 0.5)
        if region.shape is Shape.SURROUND and abs(x - 0.5) < 0.2 and abs(y - 0.5) < 0.2:
            return "around the centre"
        return f"mostly {_third(x, y)}"
    row, column = _step_of_three(y), _step_of_three(x)
    if region.width > 0.8:
        if region.height > 0.6:
            return ("across the upper part", "across the picture", "across the lower part")[row]
        return ("across the top", "across the middle", "across the bottom")[row]
    if region.height > 0.8:
        return ("along the left side", "down the middle", "along the right side")[column]
    return _third(x, y)


def _third(x: float, y: float) -> str:
    return (
        ("in the upper left", "at the top", "in the upper right"),
        ("on the left", "in the centre", "on the right"),
        ("in the lower left", "at the bottom", "in the lower right"),
    )[_step_of_three(y)][_step_of_three(x)]


def _step_of_three(place: float) -> int:
    return 0 if place < 0.37 else 2 if place > 0.63 else 1


def _names(subjects: Sequence[Subject]) -> list[str]:
    names: list[str] = []
    for subject in subjects:
        colour, noun = subject.traits.colours[0][0], _noun(subject)[0]
        name = f"{colour.word} {noun}" if subject.has_colour else noun
        if _count(name) > MAX_NAME_WORDS:
            name = noun
        if name in names:
            # A second one of the same kind is told apart by its place, if need be without its shade.
            x, y = subject.traits.x, subject.traits.y
            side = "left" if x < 0.4 else "right" if x > 0.6 else "upper" if y < 0.5 else "lower"
            word = colour.word if _count(colour.word) == 1 else colour.family
            kind = f"{word} {noun}" if subject.has_colour and _count(noun) < MAX_NAME_WORDS - 1 else noun
            name = f"other {kind}" if f"{side} {kind}" in names else f"{side} {kind}"
        names.append(name)
    return names


def _noun(subject: Subject) -> tuple[str, str]:
    """In the name, and in the detail, which says what the named thing is a kind of."""
    if subject.count > 1:
        several = _several(subject.count)
        return plural(subject.word), f"{several} {plural(subject.kind or subject.word)}"
    if subject.word:
        return subject.word, subject.kind or subject.word
    return _LIKENESS_NOUNS.get(subject.traits.likeness) or _NOUNS[subject.traits.shape]


def plural(word: str) -> str:
    """The word for several of them."""
    if word in _PLURALS:
        return _PLURALS[word]
    if word in _ALWAYS_PLURAL + _UNCOUNTED:
        return word
    if word.endswith(("s", "x", "ch", "sh")):
        return f"{word}es"
    if word.endswith("y") and word[-2] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}s"


def _several(count: int) -> str:
    return {2: "two", 3: "three"}.get(count, "several")


def _texture(region: Traits) -> str:
    if region.grain and region.roughness > 2.5:
        return "streaked" if region.roughness < 5 else f"{region.grain}ly striped"
    if region.roughness < 1.6:
        return "softly graded" if region.lightness_spread > 7 else "smooth"
    if region.roughness < 3.5:
        return "softly shaded"
    if region.roughness < 7:
        return "lightly textured"
    return "finely detailed" if region.roughness < 12 else "busy"


def _colours(region: Traits, *, both: bool = False) -> str:
    first = region.colours[0][0].word
    if both and len(region.colours) > 1 and region.colours[1][1] >= 0.22:
        return f"{first} and {region.colours[1][0].word}"
    return first


def _overall(subjects: Sequence[Subject], overview: Overview) -> str:
    """Sentences in the order of their worth, as many as fit."""
    outdoor = any(subject.traits.likeness is Likeness.SKY and not subject.word for subject in subjects)
    named = _counted(subjects)
    by_size = sorted(subjects, key=lambda subject: -subject.traits.share)
    layout = _layout(by_size)
    opening = _opening(overview, _listed(named) if named else "", outdoor=outdoor)
    while _count(opening) + _count(layout) > _MOST_WORDS and len(by_size) > 1:
        by_size = by_size[:-1]
        layout = _layout(by_size)
    sentences = [opening, layout]
    for extra in _extras(by_size, overview):
        if sum(map(_count, sentences)) + _count(extra) <= _MOST_WORDS:
            sentences.append(extra)
    for filler in _FILLERS:
        if sum(map(_count, sentences)) < _FEWEST_WORDS:
            sentences.append(filler)
    return " ".join(sentences)


def _opening(overview: Overview, named: str, *, outdoor: bool) -> str:
    light = ("a very dark", "a dark", "a medium-bright", "a bright", "a very bright")[overview.light]
    scene = f"{light}, apparently outdoor scene" if outdoor else f"{light} picture"
    contrast = ("hardly any", "low", "moderate", "strong")[overview.contrast]
    if overview.is_grey:
        tones = "in black and white" if overview.contrast > 1 else "in neutral tones"
        scene = f"{scene} {tones} with {contrast} contrast"
    else:
        colours = ("muted", "soft", "rich", "vivid")[overview.vividness]
        scene = f"{scene} with {contrast} contrast and {colours} colours, mainly {_listed(overview.colours)}"
    return f"The image shows {named}, in {scene}." if named else f"The image shows {scene}."


def _counted(subjects: Sequence[Subject]) -> list[str]:
    """The named subjects, those that read alike as one."""
    counts = Counter((_with_article(subject), subject.word, subject.count) for subject in subjects if subject.word)
    return [
        f"{_several(times)} {plural(word)}" if times > 1 and count == 1 else phrase
        for (phrase, word, count), times in counts.items()
    ]


def _with_article(subject: Subject) -> str:
    """A named subject without its place: "a red macaw", "three people"."""
    if subject.count > 1:
        return f"{_several(subject.count)} {plural(subject.word)}"
    word = f"{_colours(subject.traits)} {subject.word}" if subject.has_colour else subject.word
    return word if subject.word in _ALWAYS_PLURAL + _UNCOUNTED else _article(word, capital=False)


def _layout(by_size: Sequence[Subject]) -> str:
    first = by_size[0]
    place = position_of(first.traits)
    is_several = first.count > 1 or first.word in _ALWAYS_PLURAL
    verb = ("fill" if is_several else "fills") if place.startswith("filling") else (
        f"{place} take up" if is_several else f"{place} takes up"
    )  # fmt: skip
    plain = _plain(first)
    phrase = f"{plain[0].upper()}{plain[1:]} {verb} {_fraction(first.traits.share)} of the frame"
    others = [f"{_plain(subject)} {position_of(subject.traits)}" for subject in by_size[1:]]
    # Two regions may read alike; saying it twice would tell nothing more.
    others = list(dict.fromkeys(others))
    return f"{phrase}, with {' and '.join(others)}." if others else f"{phrase}."


def _plain(subject: Subject) -> str:
    """A subject with its article, named things without the colours that the opening has given them."""
    if not subject.word:
        return _article(f"{_colours(subject.traits)} {_noun(subject)[1]}", capital=False)
    return f"the {plural(subject.word) if subject.count > 1 else subject.word}"


def _extras(by_size: Sequence[Subject], overview: Overview) -> list[str]:
    extras = []
    if overview.horizon is not None:
        height = ("high", "halfway up", "low")[0 if overview.horizon < 0.4 else 2 if overview.horizon > 0.6 else 1]
        extras.append(f"A straight horizontal edge, perhaps a horizon, crosses the picture {height}.")
    if overview.brighter_side:
        extras.append(f"It grows brighter towards the {overview.brighter_side}.")
    if overview.detail_place:
        extras.append(f"Most of the fine detail lies {overview.detail_place}.")
    else:
        extras.append(
            ("Surfaces are smooth", "Detail is moderate", "Fine detail is dense")[overview.detail] + " throughout."
        )
    smallest = by_size[-1]
    if len(by_size) > 1 and smallest.traits.share < 0.12 and not smallest.word:
        percent = max(1, round(smallest.traits.share * 100))
        extras.append(
            f"The {_colours(smallest.traits)} {_noun(smallest)[0]} covers only about {percent} percent of it."
        )
    return extras


# For pictures of which there is little to say.
_FILLERS = (
    "No other part stands out by colour, brightness or texture.",
    "What remains looks alike from edge to edge.",
    "There is little else to see.",
)


def _fraction(share: float) -> str:
    steps = (
        (0.06, "a small part"),
        (0.15, "about a tenth"),
        (0.22, "about a fifth"),
        (0.29, "about a quarter"),
        (0.4, "about a third"),
        (0.58, "about half"),
        (0.72, "about two thirds"),
        (0.9, "most"),
        (0.99, "nearly all"),
    )
    return next((words for limit, words in steps if share < limit), "all")


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _article(phrase: str, *, capital: bool = True) -> str:
    article = "an" if phrase[0] in "aeiou" else "a"
    return f"{article.capitalize() if capital else article} {phrase}"


def _count(text: str) -> int:
    return len(text.split())
