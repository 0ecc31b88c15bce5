"""Which of CLIP's tokens the lite text encoder knows: those that are said often enough of the training pictures."""

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from codec.nets.clip_tokenizer import END, PADDING, START, clip_tokenizer
from codec.nets.lite.vocabulary import Vocabulary
from training.lite_descriptions import Described

_LEAST_OFTEN = 4


def vocabulary_of(described: Iterable[Described], captions: Mapping[str, list[str]]) -> Vocabulary:
    """The tokens that occur at least four times, and those that every text has."""
    texts = [text for each in described for text in (*each.details, each.overall)]
    texts += [text for each in captions.values() for text in each]
    counts = Counter(token for ids in clip_tokenizer().encode(texts) for token in ids)
    known = {START, END, PADDING} | {token for token, count in counts.items() if count >= _LEAST_OFTEN}
    return Vocabulary(np.array(sorted(known), np.int32))
