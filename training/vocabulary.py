"""Inflects the word lists of captions/vocabulary.txt, which name base forms by part of speech."""

_VOWELS = "aeiou"


def inflected(text: str) -> set[str]:
    """Return all words and forms of a list: lines of a kind and words, `#` for remarks.

    Kinds: n nouns (singular, or singular/plural where that is irregular), v regular verbs (`stop+` doubles its
    consonant), q adjectives that compare, x all else as it stands. Parts of hyphenated words count too.
    """
    words: set[str] = set()
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        kind, *listed = line.split()
        for word in listed:
            words.update(_forms(kind, word))
    return words | {part for word in words for part in word.split("-")}


def _forms(kind: str, word: str) -> list[str]:
    if kind == "n":
        return word.split("/") if "/" in word else [word, _s(word)]
    if kind == "v":
        doubled = word.endswith("+")
        word = word.rstrip("+")
        stem = word + word[-1] if doubled else word
        return [word, _s(word), _ed(stem), _ing(stem)]
    if kind == "q":
        return [word, _ly(word), *((_compared(word, "er"), _compared(word, "est")) if len(word) <= 6 else ())]
    return [word]


def _is_consonant_y(word: str) -> bool:
    return len(word) > 1 and word[-1] == "y" and word[-2] not in _VOWELS


def _s(word: str) -> str:
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    return word[:-1] + "ies" if _is_consonant_y(word) else word + "s"


def _ed(word: str) -> str:
    if word.endswith("e"):
        return word + "d"
    return word[:-1] + "ied" if _is_consonant_y(word) else word + "ed"


def _ing(word: str) -> str:
    if word.endswith("ie"):
        return word[:-2] + "ying"
    return word[:-1] + "ing" if word.endswith("e") and not word.endswith("ee") else word + "ing"


def _compared(word: str, ending: str) -> str:
    if word.endswith("e"):
        return word + ending[1:]
    return word[:-1] + "i" + ending if _is_consonant_y(word) else word + ending


def _ly(word: str) -> str:
    if word.endswith("y"):
        return word[:-1] + "ily"
    if word.endswith("le"):
        return word[:-1] + "y"
    return word + ("ally" if word.endswith("ic") else "ly")
