"""What a describer says of a picture: three items and one overall text."""

from dataclasses import dataclass

from codec.errors import TextError
from codec.limits import MAX_ITEMS, MAX_TEXT_CHARS, MAX_TEXTS_CHARS


@dataclass(frozen=True)
class Item:
    """One thing in the picture. `name` (<= 3 words) serves locating and search and is not stored in the stream;
    `detail` (<= 10 words) is."""

    name: str
    detail: str


@dataclass(frozen=True)
class Description:
    """Up to three items, most distinct first, and an overall description of about 50 words."""

    items: tuple[Item, ...] = ()
    overall: str = ""


def check_description(description: Description) -> Description:
    """The same description; raises TextError, which says which text is wrong, if a stream cannot hold it."""
    texts = [(f"the detail of item {number}", item.detail) for number, item in enumerate(description.items, 1)]
    texts.append(("the overall text", description.overall))
    if len(description.items) > MAX_ITEMS:
        raise TextError(f"A description has at most {MAX_ITEMS} items; this one has {len(description.items)}.")
    for place, text in texts:
        if len(text) > MAX_TEXT_CHARS:
            raise TextError(f"{_capitalised(place)} has {len(text)} characters; at most {MAX_TEXT_CHARS} are stored.")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise TextError(f"{_capitalised(place)} holds half of a surrogate pair and is no Unicode text.")
    total = sum(len(text) for _, text in texts)
    if total > MAX_TEXTS_CHARS:
        raise TextError(f"All texts together have {total} characters; at most {MAX_TEXTS_CHARS} are stored.")
    return description


def _capitalised(place: str) -> str:
    return place[0].upper() + place[1:]
