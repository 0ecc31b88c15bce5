"""Today's picture formats at their best within a number of bytes: AVIF, WebP, JPEG XL and JPEG, to compare with.

Each gets what its user would give it: thorough settings, the picture reduced to 1, 1/2, 1/3 or 1/4 by Lanczos,
enlarged again bicubically or by Lanczos, and of all that fits the bytes the scale, setting and quality that the judge
prefers. Unlike mode ref it counts whole files, as the encoder writes them.
"""

import hashlib
import time
from dataclasses import dataclass

from PIL import Image

from codec.bitstream.coarse.reference import coded_size, encode_reference
from codec.bitstream.stream import RefCoarse
from codec.encode.coarse.rate_search import RateSearch
from codec.errors import CodecError, FeatureUnavailable
from codec.metrics.peer_formats import FORMATS, Setting, library_of, require_peer, words_of, write_peer
from codec.metrics.registry import Judge
from codec.metrics.trials import Trials
from codec.picture.coded import read_coded
from codec.picture.resize import reduce_by

PEER_SCALES = (1, 2, 3, 4)

_CLOSE = 0.06
"""A scale whose first setting is worse by more than this share of the loss is not tried with the others."""

_NEARLY = 1.5
"""Where the first setting's smallest file is too large by more than this factor, no other setting's fits."""

_RUNNERS_UP = 0.9
"""Files already made of at least this share of the bytes are judged too: no perceptual figure is strictly monotone."""

_LARGEST_REFINED_PX = 1_000_000
"""Beyond this many coded pixels nothing is refined; the slowest setting takes a minute a megapixel there."""

_RESAMPLINGS = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}


@dataclass(frozen=True)
class PeerChoice:
    """A peer's best file within the bytes, or its smallest one where none fits (`fits` False).

    `picture` is what it decodes to at the original's size, `loss` the judge's. `bytes_without_wrapper` is the payload
    that mode ref would store of the same file; None where that mode cannot.
    """

    codec: str
    scale: int
    quality: int
    setting: str
    resampling: str
    file: bytes
    bytes_without_wrapper: int | None
    fits: bool
    judge: str
    loss: float
    picture: Image.Image
    encode_seconds: float
    decode_seconds: float


@dataclass(frozen=True)
class _Way:
    """A scale and a setting: what is left to choose is the quality."""

    scale: int
    setting: tuple[tuple[str, object], ...]

    def refined(self, changes: Setting) -> "_Way":
        return _Way(self.scale, tuple({**dict(self.setting), **changes}.items()))


@dataclass(frozen=True)
class _Trial:
    way: _Way
    quality: int
    file: bytes
    seconds: float


class PeerSearch:
    """Trials of one peer on one picture, remembered over the budgets that it is asked for."""

    def __init__(self, picture: Image.Image, codec: str, judge: Judge, trials: Trials | None = None) -> None:
        """`picture` is RGB. Raises FeatureUnavailable without the codec."""
        require_peer(codec)
        self._picture, self._codec, self._judge = picture, codec, judge
        self._format = FORMATS[codec]
        self._kept = trials or Trials()
        content = hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).hexdigest()
        self._content = (content, codec, library_of(codec))
        self._reduced = {scale: reduce_by(picture, scale) for scale in PEER_SCALES}
        self._trials: dict[_Way, dict[int, _Trial | None]] = {}
        self._searches: dict[_Way, RateSearch] = {}
        self._losses: dict[tuple[bytes, int, str], float] = {}

    def best_within(self, limit_bytes: int) -> PeerChoice:
        """The best whole file of at most so many bytes, else the smallest. Raises FeatureUnavailable when the codec
        cannot hold the picture at any scale."""
        fitting = self._fitting(limit_bytes)
        candidates = fitting or self._smallest()
        if not candidates:
            raise FeatureUnavailable(f"{self._codec} cannot hold a picture of {self._picture.size} at any scale.")
        loss, trial, resampling = self._least(candidates)
        begun = time.perf_counter()
        picture = self._decoded(trial, resampling)
        return PeerChoice(
            codec=self._codec,
            scale=trial.way.scale,
            quality=trial.quality,
            setting=words_of(dict(trial.way.setting)),
            resampling=resampling,
            file=trial.file,
            bytes_without_wrapper=self._without_wrapper(trial),
            fits=bool(fitting),
            judge=self._judge.name,
            loss=loss,
            picture=picture,
            encode_seconds=trial.seconds,
            decode_seconds=time.perf_counter() - begun,
        )

    def _fitting(self, limit: int) -> list[_Trial]:
        """Files that fit: the best of the first setting at every scale, of all settings at the scales that may win,
        and of the refinements of the best of these, with what else was made on the way."""
        settings = [tuple(setting.items()) for setting in self._format.settings]
        found: list[_Trial] = []
        smallest: dict[int, int] = {}
        guess = sum(self._format.qualities) // 4
        # From coarse to fine, so that each scale's quality begins where the one before ended.
        for scale in reversed(PEER_SCALES):
            trial = self._highest(_Way(scale, settings[0]), limit, guess)
            if trial is not None:
                found.append(trial)
                guess = trial.quality
            else:
                guess = self._format.qualities[0]
                lowest = self._trial(_Way(scale, settings[0]), guess)
                smallest[scale] = limit * 2 if lowest is None else len(lowest.file)
        least = min((self._loss_of(trial) for trial in found), default=0.0)
        starts = {
            trial.way.scale: trial.quality for trial in found if self._loss_of(trial) <= least + _CLOSE * abs(least)
        }
        starts |= {scale: self._format.qualities[0] for scale, size in smallest.items() if size <= _NEARLY * limit}
        for scale, start in starts.items():
            for setting in settings[1:]:
                trial = self._highest(_Way(scale, setting), limit, start)
                if trial is not None:
                    found.append(trial)
        if found:
            self._refine(self._least(found)[1], limit)
        made = [trial for trials in self._trials.values() for trial in trials.values() if trial is not None]
        return found + [
            trial for trial in made if trial.way.scale in starts and _RUNNERS_UP * limit <= len(trial.file) <= limit
        ]

    def _refine(self, best: _Trial, limit: int) -> None:
        """Make the files of more thorough settings near the best one."""
        width, height = self._reduced[best.way.scale].size
        if width * height <= _LARGEST_REFINED_PX:
            for changes in self._format.refinements:
                self._highest(best.way.refined(changes), limit, best.quality)

    def _highest(self, way: _Way, limit: int, guess: int) -> _Trial | None:
        """The file of the highest quality that fits, looked for from `guess` on. None where none fits."""
        if way not in self._searches:

            def size_of(quality: int) -> int | None:
                trial = self._trial(way, quality)
                return None if trial is None else len(trial.file)

            self._searches[way] = RateSearch(size_of, *self._format.qualities, self._format.growth)
        quality = self._searches[way].highest_within(limit, guess)
        return None if quality is None else self._trial(way, quality)

    def _smallest(self) -> list[_Trial]:
        low, _ = self._format.qualities
        ways = [_Way(scale, tuple(setting.items())) for scale in PEER_SCALES for setting in self._format.settings]
        trials = [self._trial(way, low) for way in ways]
        written = [trial for trial in trials if trial is not None]
        return [min(written, key=lambda trial: len(trial.file))] if written else []

    def _trial(self, way: _Way, quality: int) -> _Trial | None:
        """One encoding; None where the codec cannot hold the size, or does not know the setting."""
        known = self._trials.setdefault(way, {})
        if quality not in known:
            name = (
                *self._content,
                way.scale,
                quality,
                tuple(sorted({**self._format.fixed, **dict(way.setting)}.items())),
            )
            kept = self._kept.get(name)
            if kept is not None:
                known[quality] = _Trial(way, quality, kept["file"], kept["seconds"])
            else:
                begun = time.perf_counter()
                file = write_peer(self._codec, self._reduced[way.scale], quality, dict(way.setting))
                seconds = time.perf_counter() - begun
                known[quality] = None if file is None else _Trial(way, quality, file, seconds)
                if file is not None:
                    self._kept.put(name, {"file": file, "seconds": seconds})
        return known[quality]

    def _least(self, candidates: list[_Trial]) -> tuple[float, _Trial, str]:
        """Loss, file and resampling of the one that the judge prefers; the earliest of equals."""
        ranked = [
            (self._loss(trial, resampling), number, trial, resampling)
            for number, trial in enumerate(candidates)
            for resampling in _resamplings(trial.way.scale)
        ]
        loss, _, trial, resampling = min(ranked, key=lambda entry: entry[:2])
        return loss, trial, resampling

    def _loss_of(self, trial: _Trial) -> float:
        return min(self._loss(trial, resampling) for resampling in _resamplings(trial.way.scale))

    def _loss(self, trial: _Trial, resampling: str) -> float:
        digest = hashlib.sha256(trial.file)
        key = (digest.digest(), trial.way.scale, resampling)
        if key not in self._losses:
            name = (*self._content, digest.hexdigest(), trial.way.scale, resampling, self._judge.name)
            kept = self._kept.get(name)
            if kept is None:
                kept = {"loss": self._judge.loss(self._decoded(trial, resampling))}
                self._kept.put(name, kept)
            self._losses[key] = kept["loss"]
        return self._losses[key]

    def _decoded(self, trial: _Trial, resampling: str) -> Image.Image:
        size = self._picture.size
        small = read_coded(self._codec, trial.file, *coded_size(*size, trial.way.scale))
        return small if small.size == size else small.resize(size, _RESAMPLINGS[resampling])

    def _without_wrapper(self, trial: _Trial) -> int | None:
        try:
            return len(encode_reference(RefCoarse(self._codec, trial.way.scale, trial.file), *self._picture.size))
        except CodecError:
            return None


def _resamplings(scale: int) -> tuple[str, ...]:
    """The ways to enlarge a picture of this scale that are worth trying."""
    return tuple(_RESAMPLINGS) if scale > 1 else ("bicubic",)
