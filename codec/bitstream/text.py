"""Texts <-> the text payload of a stream. Any Unicode text comes back exactly; lengths are checked while decoding.

Knows nothing of sections, checksums or where texts come from.
"""

import zlib

from codec.bitstream.stream import Texts
from codec.errors import StreamCorrupt, StreamLimitExceeded, TextError
from codec.limits import MAX_ITEMS, MAX_TEXT_CHARS, MAX_TEXTS_CHARS

_MAX_PLAIN_BYTES = 4 * MAX_TEXTS_CHARS + MAX_ITEMS


def encode_texts(texts: Texts) -> bytes:
    """Return the payload for `texts`.

    Raises TextError for more than MAX_ITEMS details, a text over MAX_TEXT_CHARS characters, all together over
    MAX_TEXTS_CHARS, or a lone surrogate, which is not Unicode text.
    """
    check_texts(texts)
    return zlib.compress(_plain(texts), 9)


def decode_texts(payload: bytes) -> Texts:
    """Return the texts of a payload.

    Raises StreamCorrupt for bytes that no encoder wrote, StreamLimitExceeded for texts beyond the limits.
    """
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(payload, _MAX_PLAIN_BYTES + 1)
    except zlib.error as error:
        raise StreamCorrupt(f"the text payload does not inflate: {error}") from error
    if len(plain) > _MAX_PLAIN_BYTES:
        raise StreamLimitExceeded("the texts are longer than the format allows")
    if not inflater.eof or inflater.unused_data:
        raise StreamCorrupt("the text payload does not end where it should")
    return _from_plain(plain)


def check_texts(texts: Texts) -> None:
    """Raise TextError unless `texts` can be stored; costs no more than looking at the lengths and one encoding."""
    if len(texts.details) > MAX_ITEMS:
        raise TextError(f"a description has at most {MAX_ITEMS} details, not {len(texts.details)}")
    every = (*texts.details, texts.overall)
    for text in every:
        if len(text) > MAX_TEXT_CHARS:
            raise TextError(f"a text has {len(text)} characters; at most {MAX_TEXT_CHARS} can be stored")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise TextError("a text holds a lone surrogate, which is not Unicode text") from error
    total = sum(map(len, every))
    if total > MAX_TEXTS_CHARS:
        raise TextError(f"the texts have {total} characters together; at most {MAX_TEXTS_CHARS} can be stored")


# 0xFF never occurs in UTF-8, so it can stand between texts that may hold any character, NUL included.
_BETWEEN = b"\xff"


def _plain(texts: Texts) -> bytes:
    return _BETWEEN.join(text.encode("utf-8") for text in (*texts.details, texts.overall))


def _from_plain(plain: bytes) -> Texts:
    parts = plain.split(_BETWEEN)
    if len(parts) > MAX_ITEMS + 1:
        raise StreamCorrupt("the text payload holds more texts than a description has")
    try:
        *details, overall = (part.decode("utf-8") for part in parts)
    except UnicodeDecodeError as error:
        raise StreamCorrupt("the text payload is not UTF-8") from error
    if max(map(len, (*details, overall))) > MAX_TEXT_CHARS:
        raise StreamLimitExceeded(f"a text of the stream has over {MAX_TEXT_CHARS} characters")
    if sum(map(len, (*details, overall))) > MAX_TEXTS_CHARS:
        raise StreamLimitExceeded(f"the texts of the stream have over {MAX_TEXTS_CHARS} characters")
    return Texts(tuple(details), overall)
