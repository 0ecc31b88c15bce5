"""The AVIF picture that serves the restorer best within a number of bytes: scale and quality by quick trial
encodings, the file itself by a few slow ones.

The restorer invents detail itself and is misled by what a codec makes of detail at these rates: few pixels that are
right serve it better than many that are smeared, though the enlarged picture looks softer. So a finer scale has to
look better by a margin.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from PIL import Image

from codec.bitstream.coarse.reference import coded_size, encode_reference
from codec.bitstream.stream import RefCoarse
from codec.encode.coarse.rate_search import RateSearch
from codec.encode.coarse.score import luma_for_score, structural_score
from codec.picture.avif import MAX_QUALITY, SHARPNESSES, AVIFSetting, write_avif
from codec.picture.coded import read_coded
from codec.picture.resize import enlarge_to, reduce_by

_QUICK_SPEED = 7
"""Of libaom, for trials that find out scale and quality: a thirtieth of the time of the slow ones."""

_SPEEDS = ((40_000, 3), (150_000, 4))
"""Coded pixels up to which the file itself is written at slower speeds, which save a tenth of the bytes."""

_USUAL_SPEED = 6

_GROWTH = 0.065
"""Of the logarithm of the bytes with a step of quality, near the budgets of this archive."""

_FIRST_GUESS, _FINER_BY = 20, 15
"""Quality at the coarsest scale to begin with, and how much less is tried first at each finer one."""

_MARGIN = 0.02
"""Of the score, by which a finer scale must look better. Measured with lite's stage 1 on crops of five pictures at 0.05
bpp: where 1/2 scored from 0.017 less to 0.016 more than 1/4, the restored picture was closer by LPIPS from 1/4 or
equally close; at 0.031 more it was closer from 1/2. docs/lite.md has the figures."""

_HIGH_QUALITY = 40
"""From here on a scale has nothing left that more bits would make right, and the margin falls away."""

_LOW_QUALITY, _LOW_TUNE = 10, "ssim"
"""Below that quality another tune than libaom's own for stills: there stage 1 makes more of it, above it less."""

_NEARLY_FULL = 0.985
"""Share of the bytes from which on finer steps are not looked for."""

_THREADS = 2
"""Trials side by side; libaom lets other threads run."""


@dataclass(frozen=True)
class AVIFTrial:
    """A file with the bytes of its payload in a stream."""

    coarse: RefCoarse
    payload_bytes: int
    setting: AVIFSetting


class AVIFSearch:
    """Trials of one picture, remembered by scale and setting."""

    def __init__(self, picture: Image.Image, scales: tuple[int, ...], before_trial: Callable[[], None]) -> None:
        """`scales` from fine to coarse; `before_trial` is called in the caller's thread before each round of trials
        and may raise to stop."""
        self._picture, self._before_trial = picture, before_trial
        self._reduced = {scale: reduce_by(picture, scale) for scale in scales}
        self._luma = luma_for_score(picture)
        self._scores: dict[bytes, float] = {}
        self._trials: dict[tuple[int, AVIFSetting], AVIFTrial] = {}
        self._searches: dict[tuple[int, AVIFSetting], RateSearch] = {}

    def best_within(self, limit: int) -> AVIFTrial | None:
        """The best file whose payload has at most `limit` bytes; None where no scale gets so small."""
        with ThreadPoolExecutor(_THREADS) as pool:
            quick = self._at_best_scale(limit, pool)
            if quick is None:
                return None
            scale = quick.coarse.scale
            setting = self._careful(scale, quick.setting.quality)
            self._side_by_side(pool, scale, [setting, replace(setting, quality=max(0, setting.quality - 1))])
            careful = self._highest(scale, setting, limit)
            if careful is None:
                return quick
            finer = self._side_by_side(pool, scale, self._finer(careful, limit))
        return max((trial for trial in (careful, *finer) if trial.payload_bytes <= limit), key=self.score)

    def _at_best_scale(self, limit: int, pool: ThreadPoolExecutor) -> AVIFTrial | None:
        """By quick trials, from coarse to fine, two scales side by side, as long as a finer one looks better by the
        margin."""
        best: AVIFTrial | None = None
        scales = list(reversed(self._reduced))
        for place in range(0, len(scales), _THREADS):
            self._before_trial()
            pair = scales[place : place + _THREADS]
            futures = []
            for scale in pair:
                guess = max(0, _FIRST_GUESS - _FINER_BY * scales.index(scale))
                if best is not None:
                    guess = max(0, best.setting.quality - _FINER_BY)
                futures.append(pool.submit(self._highest, scale, AVIFSetting(guess, _QUICK_SPEED), limit))
            for trial in [future.result() for future in futures]:
                if trial is None or (best is not None and self.score(trial) <= self.score(best) + _margin(best)):
                    return best
                best = trial
        return best

    def smallest(self) -> AVIFTrial:
        """The smallest file of all scales."""
        trials = []
        for scale in self._reduced:
            self._before_trial()
            lowest = AVIFSetting(0, _QUICK_SPEED), self._careful(scale, 0)
            trials += [self._trial(scale, setting) for setting in lowest]
        return min(trials, key=lambda trial: trial.payload_bytes)

    def _side_by_side(self, pool: ThreadPoolExecutor, scale: int, settings: list[AVIFSetting]) -> list[AVIFTrial]:
        self._before_trial()
        return list(pool.map(lambda setting: self._trial(scale, setting), settings))

    def _highest(self, scale: int, setting: AVIFSetting, limit: int) -> AVIFTrial | None:
        """The highest quality that fits, looked for from the setting's own on."""
        key = scale, replace(setting, quality=0)
        if key not in self._searches:

            def size_of(quality: int) -> int:
                return self._trial(scale, replace(setting, quality=quality)).payload_bytes

            self._searches[key] = RateSearch(size_of, 0, MAX_QUALITY, _GROWTH)
        quality = self._searches[key].highest_within(limit, setting.quality)
        return None if quality is None else self._trial(scale, replace(setting, quality=quality))

    def _finer(self, trial: AVIFTrial, limit: int) -> list[AVIFSetting]:
        """Settings between the highest quality that fits and the next, where they may use bytes that are left."""
        setting = trial.setting
        if setting.tune is not None or setting.quality == MAX_QUALITY or trial.payload_bytes >= _NEARLY_FULL * limit:
            return []
        return [replace(setting, quality=setting.quality + 1, sharpness=sharpness) for sharpness in SHARPNESSES]

    def _trial(self, scale: int, setting: AVIFSetting) -> AVIFTrial:
        key = scale, setting
        if key not in self._trials:
            coarse = RefCoarse("avif", scale, write_avif(self._reduced[scale], setting))
            self._trials[key] = AVIFTrial(coarse, len(encode_reference(coarse, *self._picture.size)), setting)
        return self._trials[key]

    def score(self, trial: AVIFTrial) -> float:
        """How close the enlarged picture is to the original."""
        if trial.coarse.file not in self._scores:
            width, height = self._picture.size
            decoded = read_coded("avif", trial.coarse.file, *coded_size(width, height, trial.coarse.scale))
            enlarged = luma_for_score(enlarge_to(decoded, width, height))
            self._scores[trial.coarse.file] = structural_score(self._luma, enlarged)
        return self._scores[trial.coarse.file]

    def _careful(self, scale: int, quality: int) -> AVIFSetting:
        width, height = self._reduced[scale].size
        speed = next((speed for pixels, speed in _SPEEDS if width * height <= pixels), _USUAL_SPEED)
        return AVIFSetting(quality, speed, _LOW_TUNE if quality < _LOW_QUALITY else None)


def _margin(trial: AVIFTrial) -> float:
    return _MARGIN if trial.setting.quality < _HIGH_QUALITY else 0.0
