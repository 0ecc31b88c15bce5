"""Bits a character and milliseconds of the text coder against general compressors, primed and not.

    python -m bench.text [DIR] [--json FILE]

DIR holds caption files as in training/captions (the default: the held-out descriptions of the tests). The others get
the four texts with line breaks between; those with a dictionary are primed with the project's captions, which the
built-in files are part of: give a DIR of your own, or leave it out, for figures that mean anything.
"""

import argparse
import json
import lzma
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from codec.bitstream.stream import Texts
from codec.bitstream.text.payload import decode_texts, encode_texts
from codec.bitstream.text.prior import load_prior

_ROOT = Path(__file__).resolve().parents[1]
_CAPTIONS = _ROOT / "training" / "captions"
_HELD_OUT = _ROOT / "tests" / "unit" / "bitstream" / "texts_held_out.json"

# What deflate can look back on.
_ZLIB_DICTIONARY_BYTES = 32_768

Coder = tuple[Callable[[Texts], bytes], Callable[[bytes], object]]


def _plain(texts: Texts) -> bytes:
    return "\n".join((*texts.details, texts.overall)).encode()


def _corpus() -> bytes:
    files = sorted(path for path in _CAPTIONS.glob("*.txt") if path.name != "vocabulary.txt")
    return b"\n".join(path.read_bytes() for path in files)


def _zlib_primed(dictionary: bytes) -> Coder:
    def compress(texts: Texts) -> bytes:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=dictionary)
        return packer.compress(_plain(texts)) + packer.flush()

    def decompress(payload: bytes) -> bytes:
        return zlib.decompressobj(-15, zdict=dictionary).decompress(payload)

    return compress, decompress


def _coders() -> dict[str, Coder]:
    corpus = _corpus()
    bare = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]
    coders: dict[str, Coder] = {
        "this project": (encode_texts, decode_texts),
        "zlib, bare": (lambda t: zlib.compress(_plain(t), 9)[2:-4], lambda p: zlib.decompress(p, -15)),
        "zlib, primed": _zlib_primed(corpus[-_ZLIB_DICTIONARY_BYTES:]),
        "lzma, bare": (
            lambda t: lzma.compress(_plain(t), lzma.FORMAT_RAW, filters=bare),
            lambda p: lzma.decompress(p, lzma.FORMAT_RAW, filters=bare),
        ),
    }
    try:
        import brotli
    except ImportError:
        pass
    else:
        coders["brotli"] = (lambda t: brotli.compress(_plain(t), quality=11), brotli.decompress)
    try:
        import zstandard
    except ImportError:
        pass
    else:
        trained = zstandard.train_dictionary(
            _ZLIB_DICTIONARY_BYTES, [e.encode() for e in corpus.decode().split("\n\n")]
        )
        options = {"dict_data": trained}
        packer = zstandard.ZstdCompressor(level=22, write_content_size=False, **options)
        unpacker = zstandard.ZstdDecompressor(**options)
        coders["zstd, trained dictionary"] = (
            lambda t: packer.compress(_plain(t)),
            lambda p: unpacker.decompress(p, max_output_size=1 << 16),
        )
    try:
        import pyppmd
    except ImportError:
        pass
    else:
        coders["PPMd order 6, primed"] = _ppmd_primed(pyppmd, corpus)
    return coders


def _ppmd_primed(pyppmd: object, corpus: bytes) -> Coder:
    """The size by which the compressed corpus grows when the texts are added; it cannot be decoded by itself."""

    def size(data: bytes) -> int:
        encoder = pyppmd.Ppmd7Encoder(6, 64 << 20)  # type: ignore[attr-defined]
        return len(encoder.encode(data) + encoder.flush())

    alone = size(corpus)
    return (lambda t: bytes(size(corpus + b"\n" + _plain(t)) - alone)), (lambda p: None)


def _descriptions(folder: Path | None) -> list[Texts]:
    if folder is None:
        entries = json.loads(_HELD_OUT.read_text(encoding="utf-8"))
        return [Texts(tuple(item["detail"] for item in entry["items"]), entry["overall"]) for entry in entries]
    found = []
    for path in sorted(folder.glob("*.txt")):
        for block in path.read_text(encoding="utf-8").split("\n\n"):
            *details, overall = block.strip().split("\n")
            if len(details) == 3:
                found.append(Texts(tuple(details), overall))
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "folder", type=Path, nargs="?", help="caption files; left out: the tests' held-out descriptions"
    )
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    given = parser.parse_args()
    descriptions = _descriptions(given.folder)
    characters = [sum(map(len, (*texts.details, texts.overall))) for texts in descriptions]
    started = time.perf_counter()
    load_prior()
    load_ms = 1000 * (time.perf_counter() - started)
    average = sum(characters) / len(characters)
    print(f"{len(descriptions)} descriptions, {average:.0f} characters each; the prior loads in {load_ms:.0f} ms\n")
    print(f"{'':26}{'bits a character':>18}{'encode ms':>12}{'decode ms':>12}")
    rows = []
    for name, (compress, decompress) in _coders().items():
        compress(descriptions[0])
        started = time.perf_counter()
        payloads = [compress(texts) for texts in descriptions]
        encoded = time.perf_counter()
        for payload in payloads:
            decompress(payload)
        decoded = time.perf_counter()
        row = {
            "coder": name,
            "bits_per_character": sum(8 * len(p) / n for p, n in zip(payloads, characters, strict=True))
            / len(payloads),
            "encode_ms": 1000 * (encoded - started) / len(payloads),
            "decode_ms": 1000 * (decoded - encoded) / len(payloads),
        }
        rows.append(row)
        print(f"{name:26}{row['bits_per_character']:18.3f}{row['encode_ms']:12.2f}{row['decode_ms']:12.2f}")
    if given.json:
        report = {"descriptions": len(descriptions), "load_ms": load_ms, "coders": rows}
        given.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
