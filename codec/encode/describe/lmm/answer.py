"""From a model's words to a description within the limits, or an error; nothing that a server promises is relied on."""

import json
import re
import unicodedata
from collections.abc import Iterator
from itertools import islice

from codec.captions import parse_prompt
from codec.description import Description, Item
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
_PICTURE = r"(?:images?|pictures?|photos?|photographs?)"
_SEES_NOTHING = re.compile(
    r"\b(?:i|we) (?:do not|don['’]t|cannot|can not|can['’]t|could not|couldn['’]t|did not|didn['’]t|am unable to|"
    r"['’]m unable to|am not able to) (?:actually |currently |directly )?(?:see|view|receive|detect|find|access|open) "
    rf"(?:any |an |the |a |your |that |this )?(?:\w+ )?(?:{_PICTURE}|attachments?)"
    rf"|\bno {_PICTURE} (?:was|were|is|has been|have been|appears to be|seems to be) (?:actually )?"
    r"(?:provided|attached|uploaded|included|supplied|received|given|shared|sent)"
    rf"|\b(?:please|could you|can you) (?:re-?)?(?:provide|upload|attach|share|send|supply) (?:me )?(?:with )?"
    rf"(?:the|an|a|your) {_PICTURE}"
    rf"|\bthere (?:is|was) no {_PICTURE} (?:to |in your|in this (?:message|conversation)|attached|provided)"
    rf"|\b{_PICTURE} (?:was not|wasn['’]t|has not been) (?:provided|attached|uploaded|received|included)"
    rf"|\b{_PICTURE} (?:did not|didn['’]t|failed to|could not be) load",
    re.IGNORECASE,
)
"""What models say to a server that dropped the picture on its way; nobody says so of a picture that he sees."""

_ENGLISH = re.compile(
    r"the|and|of|with|is|are|its|this|that|from|by|at|to|under|over|behind|beside|near|while|against|above"
)
_FOREIGN = re.compile(
    r"der|die|das|und|mit|ein|eine|einer|im|ist|auf|dem|le|la|les|des|et|avec|une|dans|est|du|el|los|las|con|una|del|en|"
    r"il|di|che|della|nel|sono|gli|de|het|een|met|op|zijn|os|com|um|uma|da|na|e|y|o|jest|z|i|w|och|av|ett|por|para"
)
"""Small words of English and of its neighbours, without those that two of them share in another meaning."""

_OVERALL_NAMES = ("overall", "overall_description", "overall description")
_MOST_BRACES = 200
_TRAILING_COMMA = re.compile(r",(\s*[}\]])")
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
    if _SEES_NOTHING.search(text):
        raise DescriptionUnusable(
            "The model says that it sees no picture; its server may have dropped it, or the model reads texts only."
        )


def _find_object(text: str) -> dict[str, object]:
    """The object with the overall text, wherever it is in the answer."""
    # Models that think aloud put it in front; what comes after the last such mark is the answer.
    text = text.rpartition("</think>")[2].strip().lstrip("\ufeff")
    found: dict[str, object] | None = None
    for candidate in _candidates(text):
        unwrapped = _unwrap(_loads(candidate))
        if unwrapped is not None and _has_overall(unwrapped):
            return unwrapped
        found = found or unwrapped
    if found is not None:
        return found
    _check_saw_something(text)
    if _REFUSAL.match(text):
        raise DescriptionRefused("The language model refused to describe the picture.")
    return _published_form(text)


def _candidates(text: str) -> Iterator[str]:
    """What may be the JSON, the likeliest first: all of it, what is fenced, and from each brace to its partner."""
    yield text
    for match in _FENCE.finditer(text):
        yield match.group(1)
    first, last = text.find("{"), text.rfind("}")
    if 0 <= first < last:
        yield text[first : last + 1]
    starts = [match.start() for match in islice(re.finditer(r"\{", text), _MOST_BRACES)]
    reached = -1
    for start in starts:
        if start < reached:
            continue
        end = _partner(text, start)
        if end is not None:
            reached = end
            yield text[start:end]


def _partner(text: str, start: int) -> int | None:
    """The end of the object that begins here; braces in strings do not count."""
    depth, in_string, skip = 0, False, False
    for at in range(start, len(text)):
        character = text[at]
        if skip:
            skip = False
        elif in_string:
            skip, in_string = character == "\\", character != '"'
        elif character == '"':
            in_string = True
        elif character in "{}":
            depth += 1 if character == "{" else -1
            if not depth:
                return at + 1
    return None


def _loads(text: str) -> object:
    """JSON as models write it: with line breaks in strings, and a comma too many; None for anything else."""
    for attempt in (text, _TRAILING_COMMA.sub(r"\1", text)):
        try:
            return json.loads(attempt, strict=False)
        except (ValueError, RecursionError):
            continue
    return None


def _unwrap(value: object, depth: int = 3) -> dict[str, object] | None:
    """The object with the overall text inside of wrappers: another object, a list of one, JSON in a string."""
    if depth == 0:
        return None
    if isinstance(value, str) and "{" in value:
        return _unwrap(_loads(value), depth - 1)
    if isinstance(value, list) and len(value) == 1:
        return _unwrap(value[0], depth - 1)
    if not isinstance(value, dict):
        return None
    if not _has_overall(value):
        for inner in list(value.values())[:20]:
            if isinstance(inner, dict | str | list):
                unwrapped = _unwrap(inner, depth - 1)
                if unwrapped is not None and _has_overall(unwrapped):
                    return unwrapped
    return value


def _has_overall(answer: dict[str, object]) -> bool:
    return any(str(name).casefold() in _OVERALL_NAMES for name in answer)


def _published_form(text: str) -> dict[str, object]:
    """The plain form of the published table: names on the first line, their details, the overall text."""
    try:
        description = parse_prompt(text)
    except CodecError:
        raise DescriptionUnusable("The model's answer is not the JSON object that was asked for.") from None
    items = [{"name": item.name, "detail": item.detail} for item in description.items]
    return {"items": items, "overall": description.overall}


def _overall_of(answer: dict[str, object]) -> str:
    for name, value in answer.items():
        if str(name).casefold() in _OVERALL_NAMES and isinstance(value, str):
            return value
    raise DescriptionUnusable('The model\'s answer has no text as "overall".')


def _items_of(answer: dict[str, object]) -> tuple[Item, ...]:
    """The items that can be used; a good overall text is never given up for a bad one."""
    entries = next((value for name, value in answer.items() if str(name).casefold() == "items"), None)
    if isinstance(entries, dict):
        entries = list(entries.values())
    items: list[Item] = []
    for entry in entries[: 4 * MAX_ITEMS] if isinstance(entries, list) else ():
        fields = (entry.get("name"), entry.get("detail")) if isinstance(entry, dict) else (None, None)
        if not (isinstance(fields[0], str) and isinstance(fields[1], str)):
            continue
        name = _cut(_trim_marks(_clean(fields[0])), MAX_NAME_WORDS, _MAX_NAME_CHARS)
        detail = _cut(_trim_marks(_clean(fields[1])), MAX_DETAIL_WORDS, _MAX_DETAIL_CHARS)
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
