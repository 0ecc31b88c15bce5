"""JSON as models write it: between sentences, in fences and wrappers, with a comma too many or bare quotes in a text.

It knows no description; who asks says by which name the object is recognised.
"""

import ast
import html
import json
import re
from collections.abc import Callable, Iterator
from itertools import islice

Accepts = Callable[[dict[str, object]], bool]
"""Whether this is the object that is looked for."""

_MOST_BRACES = 40
_MOST_WRAPPERS = 3
_TRAILING_COMMA = re.compile(r",(\s*[}\]])")
_BARE_NAME = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|([{,]\s*)([A-Za-z_]\w*)(?=\s*:)""")
"""A string, which is passed over, or a field's name without quotes."""
_PYTHON = re.compile(r"\s*\{\s*(?:'|\w+\s*:)")
_FENCE = re.compile(r"```[a-zA-Z0-9_-]*\s*\n?(.*?)```", re.DOTALL)
_STRING = re.compile(r'\s*:\s*"(.+?)"\s*(?:,\s*"\w+"\s*:|[}\]]|$)', re.DOTALL)
_STRAIGHT_QUOTES = str.maketrans("“”„‘’", '"""\'\'')
_ESCAPES = {"n": "\n", "t": " ", "r": " "}


def find_object(text: str, accepts: Accepts) -> dict[str, object] | None:
    """The object that is accepted, wherever it is in the text; else the first one that there is."""
    found: dict[str, object] | None = None
    for candidate in _candidates(text):
        unwrapped = _unwrap(_loads(candidate), accepts, _MOST_WRAPPERS)
        if unwrapped is not None and accepts(unwrapped):
            return unwrapped
        found = found or unwrapped
    return found


def string_field(text: str, name: str) -> str | None:
    """The last string of this name in what is no JSON, up to a quote before a further field, a brace or the end."""
    text = unquoted(text)
    places = list(re.finditer(rf'"{name}"|\b{name}(?=\s*:\s*")', text, re.IGNORECASE))
    found = _STRING.match(text, places[-1].end()) if places else None
    return None if found is None else re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[1]), found[1])


def unquoted(text: str) -> str:
    """The text without what was put around its quotes: entities of HTML, backslashes, typographers' marks."""
    if "&quot;" in text:
        text = html.unescape(text)
    if '{\\"' in text:
        text = text.replace('\\"', '"')
    return text.translate(_STRAIGHT_QUOTES) if '"' not in text or "“" in text else text


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
    """JSON with line breaks in strings, a comma too many and names without quotes, or as Python writes it; None for
    anything else."""
    for repair in (str, _without_trailing_commas, _with_quoted_names):
        try:
            return json.loads(repair(text), strict=False)
        except (ValueError, RecursionError):
            continue
    # Single quotes are Python's, with names in quotes or, as JavaScript writes them, without.
    if not _PYTHON.match(text):
        return None
    for repair in (str, _with_quoted_names):
        try:
            return ast.literal_eval(repair(text).strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None


def _without_trailing_commas(text: str) -> str:
    return _TRAILING_COMMA.sub(r"\1", text)


def _with_quoted_names(text: str) -> str:
    quoted = _BARE_NAME.sub(lambda found: f'{found[1]}"{found[2]}"' if found[2] else found[0], text)
    return _without_trailing_commas(quoted)


def _unwrap(value: object, accepts: Accepts, depth: int) -> dict[str, object] | None:
    """The accepted object inside of wrappers: another object, a list of one, JSON in a string."""
    if depth == 0:
        return None
    if isinstance(value, str) and "{" in value:
        return _unwrap(_loads(value), accepts, depth - 1)
    if isinstance(value, list) and len(value) == 1:
        return _unwrap(value[0], accepts, depth - 1)
    if not isinstance(value, dict):
        return None
    if not accepts(value):
        for inner in list(value.values())[:20]:
            if isinstance(inner, dict | str | list):
                unwrapped = _unwrap(inner, accepts, depth - 1)
                if unwrapped is not None and accepts(unwrapped):
                    return unwrapped
    return value
