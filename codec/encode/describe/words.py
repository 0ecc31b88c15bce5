"""Puts measurements into plain words: names of at most 3 words, details of at most 10, an overall text of 40 to 60.

Says only what was measured; a likeness ("sky-like") is worded as one.
"""

from collections.abc import Sequence

from codec.description import Description, Item
from codec.encode.describe.overview import Overview
from codec.encode.describe.traits import Likeness, Shape, Traits
from codec.limits import MAX_DETAIL_WORDS

_FEWEST_WORDS, _MOST_WORDS = 40, 60

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


def describe_in_words(regions: Sequence[Traits], overview: Overview) -> Description:
    """The description of a picture from its chosen regions, most distinct first, and its overview."""
    items = tuple(Item(name, detail_of(region)) for name, region in zip(_names(regions), regions, strict=True))
    return Description(items, _overall(regions, overview))


def detail_of(region: Traits) -> str:
    """One region in at most 10 words, e.g. "smooth pale blue sky-like area across the top"."""
    texture, noun, place = _texture(region), _noun(region)[1], position_of(region)
    fuller = f"{texture} {_colours(region, both=True)} {noun} {place}"
    if _count(fuller) <= MAX_DETAIL_WORDS:
        return fuller
    plain = f"{texture} {_colours(region)} {noun} {place}"
    if _count(plain) <= MAX_DETAIL_WORDS:
        return plain
    return f"{_colours(region)} {noun} {place}"


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


def _names(regions: Sequence[Traits]) -> list[str]:
    names: list[str] = []
    for region in regions:
        name = f"{region.colours[0][0].word} {_noun(region)[0]}"
        if name in names:
            # A second one of the same kind is told apart by its place, if need be without its shade.
            side = "left" if region.x < 0.4 else "right" if region.x > 0.6 else "upper" if region.y < 0.5 else "lower"
            colour = region.colours[0][0]
            word = colour.word if _count(colour.word) == 1 else colour.family
            kind = f"{word} {_noun(region)[0]}"
            name = f"other {kind}" if f"{side} {kind}" in names else f"{side} {kind}"
        names.append(name)
    return names


def _noun(region: Traits) -> tuple[str, str]:
    return _LIKENESS_NOUNS.get(region.likeness) or _NOUNS[region.shape]


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


def _overall(regions: Sequence[Traits], overview: Overview) -> str:
    """Sentences in the order of their worth, as many as fit."""
    opening = _opening(overview, outdoor=any(region.likeness is Likeness.SKY for region in regions))
    by_size = sorted(regions, key=lambda region: -region.share)
    sentences = [opening, _layout(by_size)]
    for extra in _extras(by_size, overview):
        if sum(map(_count, sentences)) + _count(extra) <= _MOST_WORDS:
            sentences.append(extra)
    for filler in _FILLERS:
        if sum(map(_count, sentences)) < _FEWEST_WORDS:
            sentences.append(filler)
    return " ".join(sentences)


def _opening(overview: Overview, *, outdoor: bool) -> str:
    light = ("a very dark", "a dark", "a medium-bright", "a bright", "a very bright")[overview.light]
    scene = f"{light}, apparently outdoor scene" if outdoor else f"{light} picture"
    contrast = ("hardly any", "low", "moderate", "strong")[overview.contrast]
    if overview.is_grey:
        tones = "in black and white" if overview.contrast > 1 else "in neutral tones"
        return f"The image shows {scene} {tones} with {contrast} contrast."
    colours = ("muted", "soft", "rich", "vivid")[overview.vividness]
    return (
        f"The image shows {scene} with {contrast} contrast and {colours} colours, mainly {_listed(overview.colours)}."
    )


def _layout(by_size: Sequence[Traits]) -> str:
    first = by_size[0]
    place = position_of(first)
    verb = "fills" if place.startswith("filling") else f"{place} takes up"
    phrase = f"{_article(_plain(first))} {verb} {_fraction(first.share)} of the frame"
    others = [f"{_article(_plain(region), capital=False)} {position_of(region)}" for region in by_size[1:]]
    # Two regions may read alike; saying it twice would tell nothing more.
    others = list(dict.fromkeys(others))
    return f"{phrase}, with {' and '.join(others)}." if others else f"{phrase}."


def _plain(region: Traits) -> str:
    return f"{_colours(region)} {_noun(region)[1]}"


def _extras(by_size: Sequence[Traits], overview: Overview) -> list[str]:
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
    if len(by_size) > 1 and smallest.share < 0.12:
        percent = max(1, round(smallest.share * 100))
        extras.append(f"The {_colours(smallest)} {_noun(smallest)[0]} covers only about {percent} percent of it.")
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
