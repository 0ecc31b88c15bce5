"""The reference mode: another codec at the scale and quality that serve best within a budget of bytes.

AVIF, where lite's restorer begins, has a search of its own in `avif_search.py`. Of the others: for each scale the
highest quality that fits with the codec's quick setting, the scale whose result scores best against the original, and
then the codec's thorough setting around the quality found.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from PIL import Image

from codec.bitstream.coarse.reference import SCALES, coded_size, encode_reference
from codec.bitstream.stream import RefCoarse
from codec.encode.coarse.avif_search import AVIFSearch
from codec.encode.coarse.rate_search import RateSearch
from codec.encode.coarse.score import Luma, luma_for_score, structural_score
from codec.errors import BudgetUnreachable, StreamUnsupported
from codec.picture.coded import read_coded, require_codec, write_coded
from codec.picture.resize import enlarge_to, reduce_by

DEFAULT_MAX_BPP = 0.05
"""Budget of the whole file when none is given: the upper end of the range that this archive is for."""

_LARGEST_TRIAL_PX = 4_000_000
"""Scales with more coded pixels are left out: at such sizes a trial takes seconds and a finer scale wins nothing."""

_LARGEST_THOROUGH_PX = 1_000_000
"""Beyond this the thorough setting, which saves a few per cent, costs many seconds."""

_MAX_SIDES_PX = {"avif": 65_535, "webp": 16_383, "jxl": 65_535, "jpeg": 65_500}
_FIRST_GUESS = 24
_MAX_QUALITY = 100
_GROWTH = 0.04
"""Of the logarithm of the bytes with a step of quality, near the budgets of this archive."""

_THOROUGH_REACH = {"webp": (2, 4), "jxl": (2, 14), "jpeg": (0, 0)}
"""How far below and above the quick setting's quality the thorough one is tried; it saves up to a fifth in JPEG XL."""


@dataclass(frozen=True)
class ReferenceChoice:
    """The reference chosen: the picture file, its payload's bytes, the quality and the score that it reached."""

    coarse: RefCoarse
    payload_bytes: int
    quality: int
    score: float
    fits: bool


@dataclass(frozen=True)
class _Trial:
    coarse: RefCoarse
    payload_bytes: int
    quality: int


class _Search:
    """Trials at one scale, remembered by quality and setting."""

    def __init__(self, picture: Image.Image, codec: str, scale: int, before_trial: Callable[[], None]) -> None:
        self._size = picture.size
        self._reduced = reduce_by(picture, scale)
        self._codec, self._scale = codec, scale
        self.is_worth_care = self._reduced.width * self._reduced.height <= _LARGEST_THOROUGH_PX
        self._before_trial = before_trial
        self._trials: dict[tuple[int, bool], _Trial] = {}

    def trial(self, quality: int, *, thorough: bool) -> _Trial:
        key = (quality, thorough)
        if key not in self._trials:
            self._before_trial()
            self._trials[key] = self._run(quality, thorough)
        return self._trials[key]

    def _run(self, quality: int, thorough: bool) -> _Trial:
        try:
            return self._encode(quality, thorough, plain=False)
        except StreamUnsupported:
            # JPEG XL splits off repeated parts into a second frame now and then; its plain setting never does.
            if self._codec != "jxl":
                raise
            return self._encode(quality, thorough, plain=True)

    def _encode(self, quality: int, thorough: bool, *, plain: bool) -> _Trial:
        file = write_coded(self._codec, self._reduced, quality, thorough=thorough, plain=plain)
        coarse = RefCoarse(self._codec, self._scale, file)
        return _Trial(coarse, len(encode_reference(coarse, *self._size)), quality)

    def best_within(self, limit: int, low: int, high: int, *, thorough: bool, first: int) -> _Trial | None:
        """The highest quality in [low, high] whose payload has at most `limit` bytes, tried from `first` on."""
        search = RateSearch(lambda quality: self.trial(quality, thorough=thorough).payload_bytes, low, high, _GROWTH)
        quality = search.highest_within(limit, min(max(first, low), high))
        return None if quality is None else self.trial(quality, thorough=thorough)

    def score(self, trial: _Trial, original: Luma) -> float:
        width, height = self._size
        decoded = read_coded(self._codec, trial.coarse.file, *coded_size(width, height, self._scale))
        return structural_score(original, luma_for_score(enlarge_to(decoded, width, height)))


class ReferenceSearch:
    """The search for the reference of an RGB picture in `codec`. Trials are remembered, so that a second choice, with a
    few bytes more or less to spend, makes few new ones. For one thread at a time."""

    def __init__(self, picture: Image.Image, codec: str, before_trial: Callable[[], None] = lambda: None) -> None:
        """`before_trial` is called before trial encodings and may raise to stop. Raises FeatureUnavailable without the
        codec."""
        require_codec(codec)
        self._picture, self._codec = picture, codec
        scales = _scales(picture, codec)
        self._avif = AVIFSearch(picture, tuple(scales), before_trial) if codec == "avif" else None
        self._searches = {} if self._avif else {scale: _Search(picture, codec, scale, before_trial) for scale in scales}

    def choose(self, max_bpp: float | None, overhead_bytes: int) -> ReferenceChoice:
        """The best-looking reference with `overhead_bytes` spent on the rest of the file.

        Without `max_bpp` the budget is DEFAULT_MAX_BPP, and where that cannot be met the smallest reference is taken.
        Raises BudgetUnreachable, which names the smallest figure that can be reached.
        """
        pixels = self._picture.width * self._picture.height
        limit = most_bits(max_bpp, pixels) // 8 - overhead_bytes
        choice = self._best(limit) if self._avif is None else _avif_choice(self._avif, limit)
        if not choice.fits and max_bpp is not None:
            raise _unreachable(self._codec, choice.payload_bytes, max_bpp, overhead_bytes, pixels)
        return choice

    def _best(self, limit: int) -> ReferenceChoice:
        if not self._searches:
            raise BudgetUnreachable(
                f"{self._codec} cannot hold a picture of this size at any scale; choose --codec avif."
            )
        original = luma_for_score(self._picture)
        best: tuple[_Search, _Trial, float] | None = None
        high = _MAX_QUALITY
        # From coarse to fine: a finer scale never fits a higher quality, and once it looks worse, a still finer one
        # does.
        for search in reversed(self._searches.values()):
            if search.trial(0, thorough=False).payload_bytes > limit:
                break
            first = min(_FIRST_GUESS, high // 2)
            trial = search.best_within(limit, 0, high, thorough=False, first=first)
            if trial is None:
                break
            high = trial.quality
            score = search.score(trial, original)
            if best is not None and score <= best[2]:
                break
            best = search, trial, score
        return _smallest(self._searches, original, limit) if best is None else _refine(*best, original, limit)


def most_bits(max_bpp: float | None, pixels: int) -> int:
    """The most bits of a file within a budget. Exactly what the decimal figure says: 0.0113 is not a little less."""
    return int(Fraction(str(DEFAULT_MAX_BPP if max_bpp is None else max_bpp)) * pixels)


def _avif_choice(search: AVIFSearch, limit: int) -> ReferenceChoice:
    trial = search.best_within(limit) or search.smallest()
    fits = trial.payload_bytes <= limit
    return ReferenceChoice(trial.coarse, trial.payload_bytes, trial.setting.quality, search.score(trial), fits)


def _scales(picture: Image.Image, codec: str) -> list[int]:
    """Scales worth trying, coarsest last; the coarsest is always among them where the codec can hold it."""
    scales = []
    for scale in SCALES:
        width, height = coded_size(*picture.size, scale)
        is_small = width * height <= _LARGEST_TRIAL_PX or scale == SCALES[-1]
        if is_small and max(width, height) <= _MAX_SIDES_PX[codec]:
            scales.append(scale)
    return scales


def _refine(search: _Search, trial: _Trial, score: float, original: Luma, limit: int) -> ReferenceChoice:
    below, above = _THOROUGH_REACH[trial.coarse.codec]
    if search.is_worth_care and (below or above):
        low, high = max(0, trial.quality - below), min(_MAX_QUALITY, trial.quality + above)
        better = search.best_within(limit, low, high, thorough=True, first=trial.quality)
        if better is not None:
            better_score = search.score(better, original)
            if better_score > score:
                trial, score = better, better_score
    return ReferenceChoice(trial.coarse, trial.payload_bytes, trial.quality, score, fits=True)


def _smallest(searches: dict[int, _Search], original: Luma, limit: int) -> ReferenceChoice:
    """The smallest reference of all, with the thorough setting."""
    trials = [(search, search.trial(0, thorough=True)) for search in searches.values() if search.is_worth_care]
    trials += [(search, search.trial(0, thorough=False)) for search in searches.values()]
    search, trial = min(trials, key=lambda pair: pair[1].payload_bytes)
    fits = trial.payload_bytes <= limit
    return ReferenceChoice(trial.coarse, trial.payload_bytes, trial.quality, search.score(trial, original), fits)


def _unreachable(codec: str, payload_bytes: int, max_bpp: float, overhead_bytes: int, pixels: int) -> BudgetUnreachable:
    # Rounded up, so that asking for the figure named here succeeds.
    reachable = -(-(payload_bytes + overhead_bytes) * 8 * 10_000 // pixels) / 10_000
    return BudgetUnreachable(
        f"{codec} cannot bring the whole file to {max_bpp:g} bpp; the smallest it reaches is {reachable:.4f} bpp. "
        f"Allow that much with --max-bpp, choose another --codec, or shorten the text."
    )
