"""From a model's words to a description within the limits, or an error; nothing that a server promises is relied on."""

import json
import re
import unicodedata

from codec.description import Description, Item
from codec.errors import DescriptionRefused, DescriptionUnusable
from codec.limits import MAX_DETAIL_WORDS, MAX_ITEMS, MAX_NAME_WORDS

MAX_OVERALL_WORDS = 70
"""About 50 are asked for; an answer a little longer is kept whole."""

_MAX_NAME_CHARS, _MAX_DETAIL_CHARS, _MAX_OVERALL_CHARS = 60, 120, 600
"""For languages without spaces, and for words that are none: about 12 and 9 characters a word."""

_MAX_ANSWER_CHARS = 64 * 1024
"""A good answer has about 800 characters, and three times that with the thoughts of a reasoning model."""

_FEWEST_LETTERS = 12
"""A text with fewer says nothing: "A red square" has 10 and a blank."""

_REFUSAL = re.compile(
    r"^(i['’]m sorry|i am sorry|sorry[,.]|i (can['’]t|cannot|can not|am unable|am not able|won['’]t)|"
    r"i['’]m (unable|not able)|as an ai\b|unfortunately, i\b)",
    re.IGNORECASE,
)
_FENCE = re.compile(r"```[a-zA-Z0-9_-]*\s*\n?(.*?)```", re.DOTALL)
_SENTENCE_END = re.compile(r"[.!?](?=\s)|[。！？]")
_LIST_MARK = re.compile(r"^(?:[-*•]|\d{1,2}[.)])\s+")


def read_description(text: str) -> Description:
    """The description in an answer, cleaned and trimmed.

    The overall text decides: without a good one the answer is unusable. Items that are missing, empty or doubled are
    left out, because a picture with a good overall text and fewer items decodes well, and asking again costs money.
    Raises DescriptionUnusable, and DescriptionRefused where the model refuses in words.
    """
    if len(text) > _MAX_ANSWER_CHARS:
        raise DescriptionUnusable(f"The model's answer has {len(text)} characters, far more than was asked for.")
    answer = _find_object(text)
    overall = _cut(_clean(_text_of(answer, "overall")), MAX_OVERALL_WORDS, _MAX_OVERALL_CHARS)
    if _REFUSAL.match(overall):
        raise DescriptionRefused("The language model refused to describe the picture.")
    _check_says_something(overall)
    return Description(_items_of(answer), overall)


def _find_object(text: str) -> dict[str, object]:
    # Models that think aloud put it in front; what comes after the last such mark is the answer.
    text = text.rpartition("</think>")[2].strip().lstrip("\ufeff")
    candidates = [text, *(match.group(1) for match in _FENCE.finditer(text))]
    first, last = text.find("{"), text.rfind("}")
    if 0 <= first < last:
        candidates.append(text[first : last + 1])
    for candidate in candidates:
        try:
            found = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            return found
    if _REFUSAL.match(text):
        raise DescriptionRefused("The language model refused to describe the picture.")
    raise DescriptionUnusable("The model's answer is not the JSON object that was asked for.")


def _text_of(answer: dict[str, object], field: str) -> str:
    value = answer.get(field)
    if not isinstance(value, str):
        raise DescriptionUnusable(f'The model\'s answer has no text as "{field}".')
    return value


def _items_of(answer: dict[str, object]) -> tuple[Item, ...]:
    entries = answer.get("items")
    if entries is None:
        return ()
    if not isinstance(entries, list):
        raise DescriptionUnusable('The model\'s answer has no list as "items".')
    items: list[Item] = []
    for entry in entries[: 4 * MAX_ITEMS]:
        if not isinstance(entry, dict):
            raise DescriptionUnusable('The model\'s answer has an entry in "items" that is no object.')
        name = _cut(_trim_marks(_clean(_text_of(entry, "name"))), MAX_NAME_WORDS, _MAX_NAME_CHARS)
        detail = _cut(_trim_marks(_clean(_text_of(entry, "detail"))), MAX_DETAIL_WORDS, _MAX_DETAIL_CHARS)
        is_new = detail.casefold() not in (item.detail.casefold() for item in items)
        if name and detail and is_new and len(items) < MAX_ITEMS:
            items.append(Item(name, detail))
    return tuple(items)


def _clean(text: str) -> str:
    """One line of composed Unicode without control, format and unassigned characters, lone surrogates and emphasis."""
    # The composed form may be three times as long, so the length is bounded first.
    text = unicodedata.normalize("NFC", text[: 8 * _MAX_OVERALL_CHARS].replace("**", ""))
    text = "".join(character if unicodedata.category(character)[0] != "C" else " " for character in text)
    return " ".join(text.split()).strip("\"'`“” ")


def _trim_marks(text: str) -> str:
    return _LIST_MARK.sub("", text).rstrip(" .;:,")


def _cut(text: str, max_words: int, max_chars: int) -> str:
    """The text if it is short enough; else its whole sentences that fit, if they are half of it; else whole words."""
    words = text.split(" ")
    if len(words) <= max_words and len(text) <= max_chars:
        return text
    kept = " ".join(words[:max_words])
    if len(kept) > max_chars:
        kept = kept[: max_chars + 1].rpartition(" ")[0] or kept[:max_chars]
    ends = [match.end() for match in _SENTENCE_END.finditer(kept + " ")]
    if ends and ends[-1] >= len(kept) // 2:
        return kept[: ends[-1]]
    return kept.rstrip(" ,;:-–—(")


def _check_says_something(overall: str) -> None:
    letters = sum(character.isalpha() for character in overall)
    words = [word.strip(".,;:!?").casefold() for word in overall.split()]
    # Small models fall into loops; a real text of 20 words repeats few of them.
    loops = len(words) >= 20 and len(set(words)) * 4 < len(words)
    is_wide = any(unicodedata.east_asian_width(character) == "W" for character in overall)
    if letters < (_FEWEST_LETTERS // 3 if is_wide else _FEWEST_LETTERS) or letters * 2 < len(overall) or loops:
        raise DescriptionUnusable("The model's answer says nothing about the picture.")
