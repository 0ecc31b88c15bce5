"""Today's picture formats at their best within a number of bytes: AVIF, WebP, JPEG XL and JPEG, to compare with.

Each gets what its user would give it: thorough settings, the picture reduced to 1, 1/2 or 1/4 by Lanczos, enlarged
again bicubically or by Lanczos, and of all that fits the bytes the scale, setting and quality that the judge prefers.
Unlike mode ref it counts whole files, as the encoder writes them.
"""

import hashlib
import io
import time
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import PIL
from PIL import Image, features

from codec.bitstream.coarse.reference import SCALES, coded_size, encode_reference
from codec.bitstream.stream import RefCoarse
from codec.errors import CodecError, FeatureUnavailable
from codec.metrics.registry import Judge
from codec.metrics.trials import Trials
from codec.picture.coded import read_coded, require_codec
from codec.picture.resize import reduce_by

PEERS = ("avif", "webp", "jxl", "jpeg")

_FORMATS = {"avif": "AVIF", "webp": "WEBP", "jxl": "JXL", "jpeg": "JPEG"}
_SETTINGS: dict[str, tuple[dict[str, Any], ...]] = {
    "avif": ({"speed": 6}, {"speed": 4}, {"speed": 2}),
    "webp": ({"method": 6},),
    "jxl": ({"effort": 8}, {"effort": 9}),
    "jpeg": ({"optimize": True}, {"optimize": True, "progressive": True}),
}
"""The first finds the quality that fits, the others are tried around it: more effort is not always the better file."""

_FIXED: dict[str, dict[str, Any]] = {
    # Tiles are chosen by the number of processors unless they are switched off, and cost bits.
    "avif": {"autotiling": False},
    "webp": {},
    "jxl": {},
    "jpeg": {"subsampling": 2},
}
_QUALITIES = {"avif": (0, 100), "webp": (0, 100), "jxl": (0, 99), "jpeg": (1, 100)}
_REACH = 4
"""How far around the first setting's quality the other settings are tried."""

_RUNNERS_UP = 2
"""So many next lower qualities are judged too: no perceptual figure is strictly monotone in quality."""

_CLOSE = 0.1
"""A scale whose first setting is worse by more than this share of the loss is not tried with the others."""

_NEARLY = 1.25
"""Where the first setting's smallest file is too large by more than this factor, no other setting's fits."""

_LARGEST_THOROUGH_PX = 1_000_000
"""Beyond this many coded pixels only the first setting is tried; the slowest takes a minute a megapixel there."""

_RESAMPLINGS = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}
_UNFIT = (OSError, ValueError, RuntimeError)
"""What encoders raise for a size that they cannot hold."""


@dataclass(frozen=True)
class PeerChoice:
    """A peer's best file within the bytes, or its smallest one where none fits (`fits` False).

    `picture` is what it decodes to at the original's size, `loss` the judge's. `bytes_without_wrapper` is the payload
    that mode ref would store of the same file; None where that mode cannot rebuild the wrapper.
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
class _Trial:
    scale: int
    setting: int
    quality: int
    file: bytes
    seconds: float


class PeerSearch:
    """Trials of one peer on one picture, remembered over the budgets that it is asked for."""

    def __init__(self, picture: Image.Image, codec: str, judge: Judge, trials: Trials | None = None) -> None:
        """`picture` is RGB. Raises FeatureUnavailable without the codec."""
        require_codec(codec)
        self._picture, self._codec, self._judge = picture, codec, judge
        self._kept = trials or Trials()
        content = hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).hexdigest()
        self._content = (content, codec, _library(codec))
        self._reduced = {scale: reduce_by(picture, scale) for scale in SCALES}
        self._trials: dict[tuple[int, int, int], _Trial | None] = {}
        self._losses: dict[tuple[int, int, int, str], float] = {}

    def best_within(self, limit_bytes: int) -> PeerChoice:
        """The best whole file of at most so many bytes, else the smallest. Raises FeatureUnavailable when the codec
        cannot hold the picture at any scale."""
        fitting = self._fitting(limit_bytes)
        candidates = fitting or self._smallest()
        if not candidates:
            raise FeatureUnavailable(f"{self._codec} cannot hold a picture of {self._picture.size} at any scale.")
        ranked = [
            (self._loss(trial, resampling), number, trial, resampling)
            for number, trial in enumerate(candidates)
            for resampling in _resamplings(trial.scale)
        ]
        loss, _, trial, resampling = min(ranked, key=lambda entry: entry[:2])
        begun = time.perf_counter()
        picture = self._decoded(trial, resampling)
        return PeerChoice(
            codec=self._codec,
            scale=trial.scale,
            quality=trial.quality,
            setting=", ".join(f"{name} {value}" for name, value in _SETTINGS[self._codec][trial.setting].items()),
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
        """Files that fit: the best of the first setting at every scale, and more of the scales that may win by it."""
        low, high = _QUALITIES[self._codec]
        firsts = {scale: self._highest(scale, 0, limit, low, high) for scale in SCALES}
        found = [trial for trial in firsts.values() if trial is not None]
        losses = {trial.scale: min(self._loss(trial, way) for way in _resamplings(trial.scale)) for trial in found}
        least = min(losses.values(), default=0.0)
        for scale, first in firsts.items():
            if first is None:
                lowest = self._trial(scale, 0, low)
                if lowest is not None and len(lowest.file) <= _NEARLY * limit:
                    found += self._around(scale, low, limit)
            elif losses[scale] - least <= _CLOSE * abs(least):
                found += self._below(first, limit) + self._around(scale, first.quality, limit)
        return found

    def _below(self, best: _Trial, limit: int) -> list[_Trial]:
        """The next lower qualities of the first setting, where they give other files."""
        lowest, _ = _QUALITIES[self._codec]
        qualities = range(max(lowest, best.quality - _RUNNERS_UP), best.quality)
        trials = [self._trial(best.scale, best.setting, quality) for quality in qualities]
        return [trial for trial in trials if trial and trial.file != best.file and len(trial.file) <= limit]

    def _around(self, scale: int, quality: int, limit: int) -> list[_Trial]:
        """The best that the other settings have near a quality of the first."""
        trials = [self._nearest(scale, setting, quality, limit) for setting in self._other_settings(scale)]
        return [trial for trial in trials if trial is not None]

    def _nearest(self, scale: int, setting: int, quality: int, limit: int) -> _Trial | None:
        """The file of the highest quality that fits, looked for one by one from `quality` on."""
        lowest, highest = _QUALITIES[self._codec]
        best: _Trial | None = None
        for step in range(_REACH + 1):
            trial = self._trial(scale, setting, quality + step) if quality + step <= highest else None
            if trial is None or len(trial.file) > limit:
                break
            best = trial
        for step in range(1, _REACH + 1 if best is None else 0):
            trial = self._trial(scale, setting, quality - step) if quality - step >= lowest else None
            if trial is not None and len(trial.file) <= limit:
                return trial
        return best

    def _other_settings(self, scale: int) -> range:
        width, height = self._reduced[scale].size
        is_worth_care = width * height <= _LARGEST_THOROUGH_PX
        return range(1, len(_SETTINGS[self._codec]) if is_worth_care else 1)

    def _highest(self, scale: int, setting: int, limit: int, low: int, high: int) -> _Trial | None:
        """The file of the highest quality in [low, high] that fits, by bisection from the lowest on."""
        best = self._trial(scale, setting, low)
        if best is None or len(best.file) > limit:
            return None
        while low < high:
            # Budgets of this archive are met near the lower end, so the first steps are short ones.
            middle = low + max(1, (high - low + 1) // 4)
            candidate = self._trial(scale, setting, middle)
            if candidate is not None and len(candidate.file) <= limit:
                best, low = candidate, middle
            else:
                high = middle - 1
        return best

    def _smallest(self) -> list[_Trial]:
        low, _ = _QUALITIES[self._codec]
        all_settings = [(scale, setting) for scale in SCALES for setting in (0, *self._other_settings(scale))]
        trials = [self._trial(scale, setting, low) for scale, setting in all_settings]
        written = [trial for trial in trials if trial is not None]
        return [min(written, key=lambda trial: len(trial.file))] if written else []

    def _trial(self, scale: int, setting: int, quality: int) -> _Trial | None:
        """One encoding; None where the codec cannot hold the size."""
        key = (scale, setting, quality)
        if key not in self._trials:
            words = _SETTINGS[self._codec][setting] | _FIXED[self._codec]
            name = (*self._content, scale, quality, tuple(sorted(words.items())))
            kept = self._kept.get(name)
            if kept is not None:
                self._trials[key] = _Trial(scale, setting, quality, kept["file"], kept["seconds"])
            else:
                begun = time.perf_counter()
                file = _written(self._codec, self._reduced[scale], quality, words)
                seconds = time.perf_counter() - begun
                self._trials[key] = None if file is None else _Trial(scale, setting, quality, file, seconds)
                if file is not None:
                    self._kept.put(name, {"file": file, "seconds": seconds})
        return self._trials[key]

    def _loss(self, trial: _Trial, resampling: str) -> float:
        key = (trial.scale, trial.setting, trial.quality, resampling)
        if key not in self._losses:
            digest = hashlib.sha256(trial.file).hexdigest()
            name = (*self._content, digest, trial.scale, resampling, self._judge.name)
            kept = self._kept.get(name)
            if kept is None:
                kept = {"loss": self._judge.loss(self._decoded(trial, resampling))}
                self._kept.put(name, kept)
            self._losses[key] = kept["loss"]
        return self._losses[key]

    def _decoded(self, trial: _Trial, resampling: str) -> Image.Image:
        size = self._picture.size
        small = read_coded(self._codec, trial.file, *coded_size(*size, trial.scale))
        return small if small.size == size else small.resize(size, _RESAMPLINGS[resampling])

    def _without_wrapper(self, trial: _Trial) -> int | None:
        try:
            return len(encode_reference(RefCoarse(self._codec, trial.scale, trial.file), *self._picture.size))
        except CodecError:
            return None


def _resamplings(scale: int) -> tuple[str, ...]:
    """The ways to enlarge a picture of this scale that are worth trying."""
    return tuple(_RESAMPLINGS) if scale > 1 else ("bicubic",)


def peers_here() -> tuple[str, ...]:
    """Those peers that can be written and read on this machine."""
    here = []
    for codec in PEERS:
        try:
            require_codec(codec)
        except FeatureUnavailable:
            continue
        here.append(codec)
    return tuple(here)


def _written(codec: str, picture: Image.Image, quality: int, words: dict[str, Any]) -> bytes | None:
    out = io.BytesIO()
    try:
        picture.save(out, _FORMATS[codec], quality=quality, **words)
    except _UNFIT:
        return None
    return out.getvalue()


def _library(codec: str) -> str:
    """Names the versions that write the files, so that kept ones of other versions are not taken for theirs."""
    if codec == "jxl":
        return f"pillow-jxl-plugin {version('pillow-jxl-plugin')}"
    name = "jpg" if codec == "jpeg" else codec
    return f"pillow {PIL.__version__} {name} {features.version(name)}"
