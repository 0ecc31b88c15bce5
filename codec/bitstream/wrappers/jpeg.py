"""JPEG: markers, sizes, quantisation tables by quality number and, where it pays, the standard Huffman tables go.

Layout: ITU-T T.81. Quantisation tables are the standard's examples scaled as libjpeg's quality number does. One
baseline scan, 4:2:0, eight bits: nothing else is read.
"""

from codec.bitstream.coding.bits import BitReader, BitWriter
from codec.bitstream.wrappers.jpeg_tables import CHROMA, HUFFMAN, LUMA
from codec.errors import StreamCorrupt, StreamTruncated, StreamUnsupported

_STANDARD_HUFFMAN, _OWN_HUFFMAN = 0, 1
_MAX_SIDE_PX = 65_500
"""What libjpeg reads and writes at most."""

_SOF, _DHT, _SOS, _DQT = 0xC0, 0xC4, 0xDA, 0xDB
_COMPONENTS = bytes((3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1))
_SCAN = bytes((3, 1, 0x00, 2, 0x11, 3, 0x11, 0, 63, 0))
_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_JFIF = b"\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"
_TABLE_IDS = (0x00, 0x10, 0x01, 0x11)
_MAX_CODE_BITS = 16
_MAX_SYMBOLS = 256
_ESCAPE = 15
"""A count of codes is written in four bits; this value announces eight more."""


def strip(file: bytes, width: int, height: int) -> tuple[int, bytes]:
    """Body: the quality number, the Huffman tables unless they are the standard ones, the entropy-coded scan."""
    quantisation: dict[int, bytes] = {}
    huffman: dict[int, bytes] = {}
    frame = scan = b""
    position = 2
    while not scan:
        marker, length = file[position + 1], int.from_bytes(file[position + 2 : position + 4], "big")
        if file[position] != 0xFF or length < 2:
            raise StreamUnsupported("The JPEG file's markers cannot be followed.")
        body = file[position + 4 : position + 2 + length]
        if marker == _DQT:
            quantisation |= {body[at]: body[at + 1 : at + 65] for at in range(0, len(body), 65)}
        elif marker == _DHT:
            huffman |= _split_tables(body)
        elif marker == _SOF:
            frame = body
        elif marker == _SOS:
            if body != _SCAN or not file.endswith(_EOI):
                raise StreamUnsupported("The JPEG file is not made of one scan.")
            scan = file[position + 2 + length : -2]
        elif marker >> 4 != 0xE:
            raise StreamUnsupported("Only baseline JPEG can be a coarse picture.")
        position += 2 + length
    if frame != _frame(width, height):
        raise StreamUnsupported("The JPEG file has another size or subsampling than the coarse picture.")
    quality = next((number for number in range(1, 101) if _quantisation(number) == quantisation), None)
    if quality is None or set(huffman) != set(_TABLE_IDS):
        raise StreamUnsupported("The JPEG file's quantisation tables are not the standard ones.")
    if huffman == HUFFMAN:
        return _STANDARD_HUFFMAN, bytes((quality,)) + scan
    return _OWN_HUFFMAN, bytes((quality,)) + _write_tables(huffman) + scan


def rebuild(variant: int, body: bytes, width: int, height: int) -> bytes:
    """A JFIF file of exactly width x height pixels."""
    if max(width, height) > _MAX_SIDE_PX:
        raise StreamCorrupt(f"JPEG cannot hold a picture of {width}x{height} pixels.")
    if not body or not 1 <= body[0] <= 100:
        raise StreamCorrupt("The JPEG picture has no quality number between 1 and 100.")
    if variant == _STANDARD_HUFFMAN:
        huffman, position = HUFFMAN, 1
    elif variant == _OWN_HUFFMAN:
        huffman, used = _read_tables(body[1:])
        position = 1 + used
    else:
        raise StreamUnsupported("The JPEG picture is stored in a way that this version does not know.")
    scan = body[position:]
    if not scan:
        raise StreamTruncated("The JPEG scan is missing.")
    _check_scan(scan)
    tables = b"".join(_segment(_DQT, bytes((key,)) + table) for key, table in _quantisation(body[0]).items())
    tables += _segment(_SOF, _frame(width, height))
    tables += b"".join(_segment(_DHT, bytes((key,)) + huffman[key]) for key in _TABLE_IDS)
    return _SOI + _JFIF + tables + _segment(_SOS, _SCAN) + scan + _EOI


def _segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (2 + len(body)).to_bytes(2, "big") + body


def _frame(width: int, height: int) -> bytes:
    return b"\x08" + height.to_bytes(2, "big") + width.to_bytes(2, "big") + _COMPONENTS


def _quantisation(quality: int) -> dict[int, bytes]:
    """Both tables at libjpeg's `quality` in [1, 100], limited to eight bits as baseline JPEG needs."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return {
        key: bytes(min(max((entry * percent + 50) // 100, 1), 255) for entry in table)
        for key, table in enumerate((LUMA, CHROMA))
    }


def _split_tables(body: bytes) -> dict[int, bytes]:
    tables: dict[int, bytes] = {}
    while len(body) > _MAX_CODE_BITS:
        end = 1 + _MAX_CODE_BITS + sum(body[1 : 1 + _MAX_CODE_BITS])
        tables[body[0]] = body[1:end]
        body = body[end:]
    return tables


def _write_tables(huffman: dict[int, bytes]) -> bytes:
    """Per table: the longest code's bits, the count of codes of each length, and the symbols."""
    bits = BitWriter()
    for key in _TABLE_IDS:
        counts, symbols = huffman[key][:_MAX_CODE_BITS], huffman[key][_MAX_CODE_BITS:]
        used = len(counts.rstrip(b"\0"))
        bits.write(used - 1, 4)
        for count in counts[:used]:
            bits.write(min(count, _ESCAPE), 4)
            if count >= _ESCAPE:
                bits.write(count - _ESCAPE, 8)
        for symbol in symbols:
            bits.write(symbol, 8)
    return bits.to_bytes()


def _read_tables(body: bytes) -> tuple[dict[int, bytes], int]:
    """The tables and how many bytes they took. Raises StreamCorrupt for codes that cannot exist."""
    bits = BitReader(body[: len(_TABLE_IDS) * (_MAX_CODE_BITS * 2 + _MAX_SYMBOLS)])
    huffman: dict[int, bytes] = {}
    for key in _TABLE_IDS:
        counts = []
        room = 1
        for _ in range(bits.read(4) + 1):
            count = bits.read(4)
            if count == _ESCAPE:
                count += bits.read(8)
            room = 2 * room - count
            counts.append(count)
            if room < 0 or sum(counts) > _MAX_SYMBOLS or count > 255:
                raise StreamCorrupt("A Huffman table of the JPEG picture has more codes than there can be.")
        symbols = bytes(bits.read(8) for _ in range(sum(counts)))
        huffman[key] = bytes(counts).ljust(_MAX_CODE_BITS, b"\0") + symbols
    return huffman, -(-bits.position // 8)


def _check_scan(scan: bytes) -> None:
    """A marker inside the scan could start a second picture of any size; only stuffed bytes are allowed."""
    position = scan.find(0xFF)
    while position >= 0:
        if scan[position + 1 : position + 2] != b"\0":
            raise StreamCorrupt("The JPEG scan holds a marker where none may be.")
        position = scan.find(0xFF, position + 2)
