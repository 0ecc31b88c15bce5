"""From a model's words to a description within the limits, or an error; nothing that a server promises is relied on."""

import re
import unicodedata

from codec.captions import parse_prompt
from codec.description import Description, Item
from codec.encode.describe.lmm.blindness import sees_nothing
from codec.encode.describe.lmm.loose_json import find_object, string_field, unquoted
from codec.errors import CodecError, DescriptionRefused, DescriptionUnusable
from codec.limits import MAX_DETAIL_WORDS, MAX_ITEMS, MAX_NAME_WORDS

MAX_OVERALL_WORDS = 80
"""About 60 are asked for; an answer a little longer is kept whole."""

_MAX_NAME_CHARS, _MAX_DETAIL_CHARS, _MAX_OVERALL_CHARS = 60, 120, 700
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
_ENGLISH = re.compile(
    r"the|and|of|with|is|are|its|this|that|from|by|at|to|under|over|behind|beside|near|while|against|above"
)
_FOREIGN = re.compile(
    r"der|die|das|und|mit|ein|eine|einer|im|ist|auf|dem|le|la|les|des|et|avec|une|dans|est|du|el|los|las|con|una|del|en|"
    r"il|di|che|della|nel|sono|gli|de|het|een|met|op|zijn|os|com|um|uma|da|na|e|y|o|jest|z|i|w|och|av|ett|por|para"
)
"""Small words of English and of its neighbours, without those that two of them share in another meaning."""

_OVERALL_NAMES = ("overall", "overalldescription", "overalltext", "overallprompt")
_OTHER_OVERALL_NAMES = ("description", "summary", "caption")
"""Where there are items beside, and none of the names that were asked for."""

_NAMES, _DETAILS = ("name", "item", "object", "label"), ("detail", "details", "description")
_LOOSE_ITEM = re.compile(r'"name"\s*:\s*"([^"{}]*)"\s*,\s*"details?"\s*:\s*"([^"{}]*)"', re.IGNORECASE)
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
    overall = _cut(_clean(_overall_of(answer)), MAX_OVERALL_WORDS, _MAX_OVERALL_CHARS)
    _check_saw_something(overall)
    if _REFUSAL.match(overall):
        raise DescriptionRefused("The language model refused to describe the picture.")
    _check_says_something(overall)
    return Description(_items_of(answer), overall)


def is_english(text: str) -> bool:
    """Whether a text is English, or too short of small words to tell; the prompt, CLIP and the decoder read no other
    language."""
    letters = [character for character in text if character.isalpha()]
    latin = sum("LATIN" in unicodedata.name(character, "") for character in letters)
    if latin * 2 < len(letters):
        return False
    words = re.findall(r"[^\W\d_]+", text.casefold())
    foreign, english = (sum(small.fullmatch(word) is not None for word in words) for small in (_FOREIGN, _ENGLISH))
    return foreign <= english


def _check_saw_something(text: str) -> None:
    if sees_nothing(text):
        raise DescriptionUnusable(
            "The model says that it sees no picture; its server may have dropped it, or the model reads texts only."
        )


def _find_object(text: str) -> dict[str, object]:
    """The object with the overall text, wherever it is in the answer."""
    # Models that think aloud put it in front; what comes after the last such mark is the answer.
    text = text.rpartition("</think>")[2].strip().lstrip("\ufeff")
    # A draft, or the schema that was sent, may stand before the answer; what says nothing is taken where all does.
    for accepts in (_has_good_overall, _has_overall):
        found = find_object(text, accepts)
        if found is not None and accepts(found):
            return found
    overall = string_field(text, "overall")
    if overall is not None:
        pairs = _LOOSE_ITEM.findall(unquoted(text))
        return {"items": [{"name": name, "detail": detail} for name, detail in pairs], "overall": overall}
    if found is not None:
        return found
    _check_saw_something(text)
    if _REFUSAL.match(text):
        raise DescriptionRefused("The language model refused to describe the picture.")
    return _published_form(text)


def _has_good_overall(answer: dict[str, object]) -> bool:
    overall = _find_overall(answer)
    return overall is not None and _says_something(_clean(overall))


def _has_overall(answer: dict[str, object]) -> bool:
    return _find_overall(answer) is not None


def _find_overall(answer: dict[str, object]) -> str | None:
    fields = {re.sub(r"[^a-z]", "", str(name).casefold()): _text_in(value) for name, value in answer.items()}
    names = _OVERALL_NAMES + (_OTHER_OVERALL_NAMES if "items" in fields else ())
    return next((fields[name] for name in names if fields.get(name) is not None), None)


def _text_in(value: object) -> str | None:
    """A text, of a list of texts all, of an object the only one."""
    if isinstance(value, dict):
        value = list(value.values())[:1] if len(value) == 1 else None
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return " ".join(value)
    return value if isinstance(value, str) else None


def _published_form(text: str) -> dict[str, object]:
    """The plain form of the published table: names on the first line, their details, the overall text."""
    try:
        description = parse_prompt(text)
    except CodecError:
        raise DescriptionUnusable("The model's answer is not the JSON object that was asked for.") from None
    items = [{"name": item.name, "detail": item.detail} for item in description.items]
    return {"items": items, "overall": description.overall}


def _overall_of(answer: dict[str, object]) -> str:
    overall = _find_overall(answer)
    if overall is None:
        raise DescriptionUnusable('The model\'s answer has no text as "overall".')
    return overall


def _items_of(answer: dict[str, object]) -> tuple[Item, ...]:
    """The items that can be used; a good overall text is never given up for a bad one."""
    entries = next((value for name, value in answer.items() if str(name).casefold() == "items"), None)
    if isinstance(entries, dict):
        entries = list(entries.values())
    items: list[Item] = []
    for entry in entries[: 4 * MAX_ITEMS] if isinstance(entries, list) else ():
        fields = _fields_of(entry)
        if fields is None:
            continue
        name = _cut(_trim_marks(_clean(fields[0])), MAX_NAME_WORDS, _MAX_NAME_CHARS)
        detail = _cut(_trim_marks(_clean(fields[1])), MAX_DETAIL_WORDS, _MAX_DETAIL_CHARS)
        is_new = detail.casefold() not in (item.detail.casefold() for item in items)
        if name and detail and is_new and len(items) < MAX_ITEMS:
            items.append(Item(name, detail))
    return tuple(items)


def _fields_of(entry: object) -> tuple[str, str] | None:
    """Name and detail of an item, which some models write as one line with a colon."""
    if isinstance(entry, str):
        name, colon, detail = entry.partition(":")
        return (name, detail) if colon else None
    if not isinstance(entry, dict):
        return None
    texts = {str(name).casefold(): value for name, value in entry.items() if isinstance(value, str)}
    names, details = ([texts[key] for key in keys if key in texts] for keys in (_NAMES, _DETAILS))
    return (names[0], details[0]) if names and details else None


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
    if not _says_something(overall):
        raise DescriptionUnusable("The model's answer says nothing about the picture.")


def _says_something(overall: str) -> bool:
    letters = sum(character.isalpha() for character in overall)
    words = [word.strip(".,;:!?").casefold() for word in overall.split()]
    # Small models fall into loops; a real text of 20 words repeats few of them.
    loops = len(words) >= 20 and len(set(words)) * 4 < len(words)
    is_wide = any(unicodedata.east_asian_width(character) == "W" for character in overall)
    fewest = _FEWEST_LETTERS // 3 if is_wide else _FEWEST_LETTERS
    return letters >= fewest and letters * 2 >= len(overall) and not loops
