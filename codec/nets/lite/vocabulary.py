"""The lite text encoder's vocabulary: CLIP's tokens that training saw often enough, and one id for all the others."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from codec.nets.clip.tokenizer import CONTEXT_LENGTH, clip_tokenizer

UNKNOWN = 0
"""The id of every token outside the vocabulary."""


class Vocabulary:
    """`known`: CLIP's ids in rising order; the one at place n has the id n + 1 here."""

    def __init__(self, known: npt.NDArray[np.int32]) -> None:
        self.known = known
        self._tokenizer = clip_tokenizer()

    def __len__(self) -> int:
        return len(self.known) + 1

    def ids(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """(B, 77) ids of texts of any length, which are cut there, the end token the last."""
        theirs = np.array(self._tokenizer.encode_padded(texts, CONTEXT_LENGTH))
        places = np.searchsorted(self.known, theirs)
        is_known = self.known[np.minimum(places, len(self.known) - 1)] == theirs
        return np.where(is_known, places + 1, UNKNOWN)
