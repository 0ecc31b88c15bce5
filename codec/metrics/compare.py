"""One picture through our codec at every rate, and through each peer within the same bytes: a row of figures each."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from codec.captions import Captions
from codec.encode.pipeline import Encoded
from codec.errors import CodecError, OptionError
from codec.metrics.metric import View
from codec.metrics.outside import OutsideCodec, OutsideFile
from codec.metrics.own import OwnCodec, Setting
from codec.metrics.peers import PeerSearch
from codec.metrics.registry import Measured, Metrics
from codec.metrics.trials import Trials
from codec.picture.open import open_picture

OURS, OURS_COARSE = "misc", "misc-coarse"
"""Our file restored, and the coarse picture of the same file as it is."""

Keep = Callable[[str, int, Image.Image], None]
"""Called with codec, rate and picture for each row, and with "original" and 0 first."""

KeepFile = Callable[[Setting, Encoded], None]
"""Called with each file of ours."""

ORIGINAL = "original"


@dataclass(frozen=True)
class Row:
    """One file of one codec. `details` are those of the codec; `error` names what failed instead of figures."""

    source: str
    codec: str
    rate: int
    bpp: float | None = None
    bytes: int | None = None
    metrics: dict[str, float | None] = field(default_factory=dict)
    undefined: dict[str, str] = field(default_factory=dict)
    encode_seconds: float | None = None
    decode_seconds: float | None = None
    details: dict[str, Any] = field(default_factory=dict)
    error: Exception | None = None


@dataclass(frozen=True)
class Comparison:
    """What is compared: the same for every picture of a run."""

    own: OwnCodec
    settings: tuple[Setting, ...]
    metrics: Metrics
    peers: tuple[str, ...]
    captions: Captions | None = None
    trials: Trials = field(default_factory=Trials)
    outside: tuple[OutsideCodec, ...] = ()

    def measure(self, original: View, candidate: Image.Image, *, is_quick: bool = False) -> Measured:
        """The figures of a picture, kept with the trials; with `is_quick` those that take seconds are undefined."""
        if not is_quick:
            return self.metrics.measure(original, candidate, self.trials)
        measured = self.metrics.quick().measure(original, candidate, self.trials)
        slow = [name for name in self.metrics.is_distance if name not in measured.values]
        values = {name: measured.values.get(name) for name in self.metrics.is_distance}
        return Measured(values, measured.undefined | dict.fromkeys(slow, "takes seconds, and is left out here"))


def compare_picture(
    picture: Image.Image,
    source: str,
    comparison: Comparison,
    *,
    source_name: str = "",
    keep: Keep = lambda codec, rate, picture: None,
    keep_file: KeepFile = lambda setting, encoded: None,
) -> list[Row]:
    """The rows of an upright RGB picture: for each setting ours, our coarse picture, and each peer; then those that
    outside codecs made.

    A peer or an outside picture that fails has a row with its error; errors of our own codec are raised (CodecError
    children).
    """
    original = View(picture)
    judge = comparison.metrics.judge(original)
    keep(ORIGINAL, 0, picture)
    searches = {peer: PeerSearch(picture, peer, judge, comparison.trials) for peer in comparison.peers}
    rows = []
    for setting in comparison.settings:
        encoded = comparison.own.encode(picture, setting, source_name=source_name, captions=comparison.captions)
        keep_file(setting, encoded)
        rows += own_rows(original, source, comparison, setting, encoded, keep)
        for peer, search in searches.items():
            rows.append(_peer_row(original, source, comparison, setting.rate, peer, search, len(encoded.data), keep))
    for outside in comparison.outside:
        rows += _outside_rows(original, source, comparison, outside, keep)
    return rows


def _outside_rows(original: View, source: str, comparison: Comparison, codec: OutsideCodec, keep: Keep) -> list[Row]:
    try:
        files = codec.files_of(source)
    except CodecError as error:
        return [Row(source, codec.name, 0, error=error)]
    return [_outside_row(original, source, comparison, codec.name, file, keep) for file in files]


def _outside_row(original: View, source: str, comparison: Comparison, name: str, file: OutsideFile, keep: Keep) -> Row:
    try:
        picture = open_picture(file.path)
        if picture.size != original.picture.size:
            (width, height), (wanted_width, wanted_height) = picture.size, original.picture.size
            raise OptionError(f"{file.path} is {width}x{height} and not {wanted_width}x{wanted_height}.")
    except (CodecError, OSError) as error:
        return Row(source, name, file.rate, error=error)
    keep(name, file.rate, picture)
    measured = comparison.measure(original, picture)
    return _row(original, source, name, file.rate, file.bytes, measured, (None, None), {"file": str(file.path)})


def own_rows(
    original: View, source: str, comparison: Comparison, setting: Setting, encoded: Encoded, keep: Keep
) -> list[Row]:
    """Our file restored, and its coarse picture alone, which has the same bytes."""
    decoded = comparison.own.decode(encoded.data, setting.decode)
    begun = time.perf_counter()
    coarse = comparison.own.coarse(encoded.stream)
    coarse_seconds = time.perf_counter() - begun
    keep(OURS, setting.rate, decoded.picture)
    keep(OURS_COARSE, setting.rate, coarse)
    mode = setting.encode.mode
    assert mode is not None, "the options choose the profile's own"
    details = {
        "mode": mode.value,
        "restorer": decoded.restorer,
        "describer": encoded.describer,
        "bits": {part: getattr(encoded.bits, part) for part in ("container", "text", "maps", "coarse")},
    }
    size = len(encoded.data)
    encode_seconds = encoded.seconds["total"]
    restored = comparison.measure(original, decoded.picture)
    alone = comparison.measure(original, coarse, is_quick=True)
    return [
        _row(original, source, OURS, setting.rate, size, restored, (encode_seconds, decoded.seconds["total"]), details),
        _row(original, source, OURS_COARSE, setting.rate, size, alone, (encode_seconds, coarse_seconds), details),
    ]


def _peer_row(
    original: View,
    source: str,
    comparison: Comparison,
    rate: int,
    peer: str,
    search: PeerSearch,
    limit_bytes: int,
    keep: Keep,
) -> Row:
    try:
        choice = search.best_within(limit_bytes)
    except CodecError as error:
        return Row(source, peer, rate, error=error)
    keep(peer, rate, choice.picture)
    details = {
        "scale": choice.scale,
        "quality": choice.quality,
        "setting": choice.setting,
        "resampling": choice.resampling,
        "judge": choice.judge,
        "limit_bytes": limit_bytes,
        "over_budget": not choice.fits,
        "bytes_without_wrapper": choice.bytes_without_wrapper,
    }
    measured = comparison.measure(original, choice.picture)
    seconds = choice.encode_seconds, choice.decode_seconds
    return _row(original, source, peer, rate, len(choice.file), measured, seconds, details)


def _row(
    original: View,
    source: str,
    codec: str,
    rate: int,
    size_bytes: int,
    measured: Measured,
    seconds: tuple[float | None, float | None],
    details: dict[str, Any],
) -> Row:
    width, height = original.picture.size
    bpp = 8 * size_bytes / (width * height)
    return Row(source, codec, rate, bpp, size_bytes, measured.values, measured.undefined, *seconds, details)
