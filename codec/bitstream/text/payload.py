"""Texts <-> the text payload of a stream. Any Unicode text comes back exactly; lengths are checked while decoding.

Knows nothing of sections, checksums or where texts come from. Normative text: docs/bitstream-text.md.
"""

import zlib

from codec.bitstream.coding.rangecoder import REGISTER_BYTES, Decoder, Encoder
from codec.bitstream.stream import Texts
from codec.bitstream.text.escapes import ESCAPE_WEIGHT, EscapeModel
from codec.bitstream.text.model import TextModel
from codec.bitstream.text.prior import END_DETAIL, END_OVERALL, ESCAPE, FIRST_CHARACTER, load_prior
from codec.errors import StreamCorrupt, StreamLimitExceeded, StreamTruncated, StreamUnsupported, TextError
from codec.limits import MAX_ITEMS, MAX_TEXT_CHARS, MAX_TEXTS_CHARS

# The first byte names the coding. Range-coded payloads begin with a decision of probability _MODELLED / 65536, which
# leaves them the first bytes below _DEFLATED and costs 0.03 bits; so the prior's version needs no field of its own.
_UTF8, _DEFLATED = 0xFF, 0xFE
_FIRST_RESERVED = 0xFC
_MODELLED = _FIRST_RESERVED << 8

# Three details and an overall text, none of them empty, are by far the most common; see _code_shape.
_THREE_DETAILS, _NO_DETAILS, _TWO_DETAILS, _ALL_WRITTEN, _EVEN_ODDS = 57_344, 49_152, 32_768, 64_512, 32_768

# A range-coded payload closes with a zero at even odds. The last byte that matters is then not zero but by chance, so
# that a decoder which reads far past the end knows that the payload was cut, and need not go on to the limits.
_MAX_DROPPED_BYTES = 8

_MAX_PLAIN_BYTES = 4 * MAX_TEXTS_CHARS + MAX_ITEMS


def encode_texts(texts: Texts) -> bytes:
    """Return the payload for `texts`, in the coding that is shortest for them.

    Raises TextError for more than MAX_ITEMS details, a text over MAX_TEXT_CHARS characters, all together over
    MAX_TEXTS_CHARS, or a lone surrogate, which is not Unicode text.
    """
    check_texts(texts)
    plain = _plain(texts)
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    best = min(bytes((_UTF8,)) + plain, bytes((_DEFLATED,)) + deflater.compress(plain) + deflater.flush(), key=len)
    try:
        modelled = _encode_modelled(texts)
    except StreamLimitExceeded:
        return best
    return min(modelled, best, key=len)


def decode_texts(payload: bytes) -> Texts:
    """Return the texts of a payload.

    Raises StreamCorrupt and StreamTruncated for bytes that no encoder wrote, StreamLimitExceeded for texts beyond the
    limits, and StreamUnsupported for a coding of a later version.
    """
    coding = payload[0] if payload else 0
    if coding < _FIRST_RESERVED:
        return _decode_modelled(payload)
    if coding == _UTF8:
        return _from_plain(payload[1:])
    if coding == _DEFLATED:
        return _from_plain(_inflated(payload[1:]))
    raise StreamUnsupported(f"the text payload is coded in a way ({coding}) that this version does not know")


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


def _encode_modelled(texts: Texts) -> bytes:
    """The range-coded payload.

    Raises StreamLimitExceeded when it would take more decisions, or end in more zeros, than one may.
    """
    encoder = Encoder()
    encoder.encode(1, _MODELLED)
    every = (*texts.details, texts.overall)
    written = _code_shape(encoder, tuple(map(bool, every)))
    prior = load_prior()
    model, escapes = TextModel(prior), EscapeModel()
    for number, text in enumerate(every):
        last = number == len(every) - 1
        if number or last:
            model.end_text(overall_next=last)
        if not written[number]:
            continue
        for character in text:
            symbol = prior.codes.get(character, ESCAPE)
            model.code(encoder, symbol)
            if symbol == ESCAPE:
                escapes.code(encoder, ord(character))
                model.decisions += ESCAPE_WEIGHT
            model.check_decisions()
        model.code(encoder, END_OVERALL if last else END_DETAIL)
    encoder.encode(0, _EVEN_ODDS)
    sent = encoder.bytes_written
    payload = encoder.finish()
    model.check_decisions()
    if sent > len(payload) + _MAX_DROPPED_BYTES:
        raise StreamLimitExceeded("the text payload ends in more zeros than the format allows")
    return payload


def _decode_modelled(payload: bytes) -> Texts:
    if payload.endswith(b"\0"):
        raise StreamCorrupt("the text payload ends with a zero byte, which an encoder leaves out")
    decoder = Decoder(payload)
    decoder.decode(_MODELLED)
    written = _code_shape(decoder, None)
    prior = load_prior()
    model, escapes = TextModel(prior), EscapeModel()
    most_read = len(payload) + REGISTER_BYTES + _MAX_DROPPED_BYTES
    every: list[str] = []
    room = MAX_TEXTS_CHARS
    for number, is_written in enumerate(written):
        last = number == len(written) - 1
        if number or last:
            model.end_text(overall_next=last)
        characters: list[str] = []
        while is_written:
            symbol = model.code(decoder, None)
            if symbol == ESCAPE:
                characters.append(chr(escapes.code(decoder, None)))
                model.decisions += ESCAPE_WEIGHT
            elif symbol < ESCAPE:
                break
            else:
                characters.append(prior.alphabet[symbol - FIRST_CHARACTER])
            if len(characters) > min(MAX_TEXT_CHARS, room):
                raise StreamLimitExceeded("the texts of the stream are longer than the format allows")
            model.check_decisions()
            if decoder.bytes_read > most_read:
                raise StreamTruncated("the text payload ends before its texts do")
        every.append("".join(characters))
        room -= len(characters)
    if decoder.decode(_EVEN_ODDS) or len(payload) > decoder.bytes_read:
        raise StreamCorrupt("the text payload goes on after its texts have ended")
    return Texts(tuple(every[:-1]), every[-1])


def _code_shape(coder: Encoder | Decoder, written: tuple[bool, ...] | None) -> tuple[bool, ...]:
    """Code which texts there are: for each detail, and last the overall text, whether it has any characters."""

    def bit(p1: int, wanted: bool) -> bool:
        if isinstance(coder, Decoder):
            return bool(coder.decode(p1))
        coder.encode(wanted, p1)
        return wanted

    details = len(written) - 1 if written else 0
    if bit(_THREE_DETAILS, details == 3):
        details = 3
    elif bit(_NO_DETAILS, details == 0):
        details = 0
    else:
        details = 2 if bit(_TWO_DETAILS, details == 2) else 1
    given = written or (False,) * (details + 1)
    if bit(_ALL_WRITTEN, all(given)):
        return (True,) * (details + 1)
    return tuple(bit(_EVEN_ODDS, one) for one in given)


# 0xFF never occurs in UTF-8, so it can stand between texts that may hold any character, NUL included.
_BETWEEN = b"\xff"


def _plain(texts: Texts) -> bytes:
    return _BETWEEN.join(text.encode("utf-8") for text in (*texts.details, texts.overall))


def _inflated(data: bytes) -> bytes:
    inflater = zlib.decompressobj(-15)
    try:
        plain = inflater.decompress(data, _MAX_PLAIN_BYTES + 1)
    except zlib.error as error:
        raise StreamCorrupt(f"the text payload does not inflate: {error}") from error
    if len(plain) > _MAX_PLAIN_BYTES:
        raise StreamLimitExceeded("the texts of the stream are longer than the format allows")
    if not inflater.eof or inflater.unused_data:
        raise StreamCorrupt("the text payload does not end where it should")
    return plain


def _from_plain(plain: bytes) -> Texts:
    if len(plain) > _MAX_PLAIN_BYTES:
        raise StreamLimitExceeded("the texts of the stream are longer than the format allows")
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
