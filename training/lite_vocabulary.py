"""Which of CLIP's tokens the lite text encoder knows: those that are said often enough of the training pictures, or
those that the networks know which a run begins with."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from codec.nets.clip.tokenizer import END, PADDING, START, clip_tokenizer
from codec.nets.lite.load import VOCABULARY
from codec.nets.lite.vocabulary import Vocabulary
from training.lite_descriptions import Described

_LEAST_OFTEN = 4
_KEPT_AS = "vocabulary.npy"


def vocabulary_of(described: Iterable[Described], captions: Mapping[str, list[str]]) -> Vocabulary:
    """The tokens that occur at least four times, and those that every text has."""
    texts = [text for each in described for text in (*each.details, each.overall)]
    texts += [text for each in captions.values() for text in each]
    counts = Counter(token for ids in clip_tokenizer().encode(texts) for token in ids)
    known = {START, END, PADDING} | {token for token, count in counts.items() if count >= _LEAST_OFTEN}
    return Vocabulary(np.array(sorted(known), np.int32))


def keep_vocabulary(vocabulary: Vocabulary, run: Path) -> None:
    """Beside the run's weights, whose table of tokens means nothing without it."""
    np.save(run / _KEPT_AS, vocabulary.known)


def vocabulary_from(path: Path) -> Vocabulary:
    """The one of a run's folder or of a released file. Raises OSError or KeyError for neither."""
    return Vocabulary(np.load(path / _KEPT_AS) if path.is_dir() else load_file(path)[VOCABULARY])
