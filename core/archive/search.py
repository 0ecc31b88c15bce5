"""Finds images by words of their names and descriptions. Every function works in the caller's transaction."""

import re
import unicodedata
from collections.abc import Iterable

from sqlalchemy import ColumnElement, delete, insert, select
from sqlalchemy.orm import Session

from codec.errors import OptionError
from models.base import JSONObject
from models.image import Image
from models.search_word import WORD_LENGTH, SearchWord

MAX_QUERY_WORDS = 10
"""Each is a look into the index; nobody narrows ten thousand pictures down by more."""

_MOST_WORDS = 500
"""Of one image: about four times the longest description of three items."""

_WORD = re.compile(r"[^\W_]+")
_LAST = "\U0010ffff"
"""Comes after every character of a word."""


def words_of(*texts: str) -> list[str]:
    """The words of texts, each once, in lower case and in the order in which they come."""
    joined = " ".join(unicodedata.normalize("NFKC", text).casefold() for text in texts)
    return list(dict.fromkeys(word[:WORD_LENGTH] for word in _WORD.findall(joined)))


def index_image(session: Session, image_id: str, name: str, content: JSONObject | None = None) -> None:
    """Make an image found by its name and its description's `content`, and by no words that it had before."""
    remove_image(session, image_id)
    words = words_of(name, *_texts_in(content or {}))[:_MOST_WORDS]
    if words:
        session.execute(insert(SearchWord), [{"word": word, "image_id": image_id} for word in words])


def index_new_images(session: Session, images: Iterable[tuple[str, str, JSONObject | None]]) -> None:
    """The same for many images that are in the index not at all: their ids, names and descriptions' contents."""
    rows = [
        {"word": word, "image_id": image_id}
        for image_id, name, content in images
        for word in words_of(name, *_texts_in(content or {}))[:_MOST_WORDS]
    ]
    if rows:
        session.execute(insert(SearchWord), rows)


def remove_image(session: Session, image_id: str) -> None:
    """Let an image be found no more."""
    session.execute(delete(SearchWord).where(SearchWord.image_id == image_id))


def conditions(query: str) -> list[ColumnElement[bool]]:
    """What an image has to fulfil: for each word of the query it has one that begins with it, whatever the case.

    Raises OptionError for a query without words or with more than MAX_QUERY_WORDS.
    """
    words = words_of(query)
    if not 0 < len(words) <= MAX_QUERY_WORDS:
        raise OptionError(f"A search has 1 to {MAX_QUERY_WORDS} words; this one has {len(words)}.")
    return [
        Image.id.in_(select(SearchWord.image_id).where(SearchWord.word >= word, SearchWord.word < word + _LAST))
        for word in words
    ]


def _texts_in(content: JSONObject) -> Iterable[str]:
    """The texts of a description as it is kept; what is no text is left out."""
    items = content.get("items")
    for item in items if isinstance(items, list) else []:
        if isinstance(item, dict):
            yield from (text for text in (item.get("name"), item.get("detail")) if isinstance(text, str))
    overall = content.get("overall")
    if isinstance(overall, str):
        yield overall
