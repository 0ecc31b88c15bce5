"""What `bench.quality` measures on one picture: rows of all codecs, the wrong words, and no words. Prints nothing."""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from codec.bitstream import Texts, pack
from codec.captions import load_captions
from codec.decode.pipeline import seed_from
from codec.encode.pipeline import Encoded
from codec.metrics.compare import OURS, Comparison, Row, compare_picture
from codec.metrics.metric import View
from codec.metrics.own import OwnCodec, Setting, restorer_here, settings_of, without_text
from codec.metrics.registry import load_metrics, share_processors
from codec.metrics.trials import Trials
from codec.options import Mode, Profile, RestorerName
from codec.picture.open import open_picture


@dataclass(frozen=True)
class Plan:
    """What is measured on every picture, in values that another process can be sent. `sqz` and `perceptual` are
    files of weights, `is_quick` leaves out the metrics over VGG16."""

    profile: str
    mode: str | None
    restorer: str | None
    peers: tuple[str, ...]
    text_rates: tuple[int, ...]
    captions: Path | None
    cache: Path
    sqz: Path | None
    perceptual: Path | None
    is_quick: bool
    processes: int


@dataclass(frozen=True)
class Task:
    """One picture, and the one after it in its set, whose words serve as the wrong ones."""

    source: Path
    following: Path
    plan: Plan


@lru_cache(maxsize=1)
def comparison_of(plan: Plan) -> Comparison:
    """What a process compares with; made once, with its networks."""
    from cli.local.networks import restorers
    from cli.local.paths import weights_store

    share_processors(plan.processes)
    profile = Profile(plan.profile)
    restorer = RestorerName(plan.restorer) if plan.restorer else restorer_here(restorers(), profile)
    captions = load_captions(plan.captions) if plan.captions else None
    metrics = load_metrics(plan.sqz, plan.perceptual)
    return Comparison(
        own=OwnCodec(weights_store(), restorers()),
        settings=settings_of(
            weights_store(), profile=profile, mode=Mode(plan.mode) if plan.mode else None, restorer=restorer
        ),
        metrics=metrics.quick() if plan.is_quick else metrics,
        peers=plan.peers,
        captions=captions,
        trials=Trials(plan.cache),
    )


def measure_picture(task: Task) -> dict[str, Any]:
    """`rows`, and where words are looked at, `wordless` (a row a rate, of files without text) and `wrong_words`
    (figures by rate)."""
    comparison = comparison_of(task.plan)
    picture = open_picture(task.source)
    name = task.source.name
    files: dict[int, Encoded] = {}

    def keep_file(setting: Setting, encoded: Encoded) -> None:
        files[setting.rate] = encoded

    rows = compare_picture(picture, name, comparison, source_name=name, keep_file=keep_file)
    original = View(picture)
    settings = comparison.settings if task.plan.text_rates else ()
    right = {row.rate: row.metrics for row in rows if row.codec == OURS}
    return {
        "rows": rows,
        "wordless": [_wordless(original, name, comparison, setting) for setting in settings],
        "wrong_words": {
            setting.rate: {
                "right": right[setting.rate],
                "wrong": _wrong_words(original, task, comparison, setting, files[setting.rate]),
            }
            for setting in settings
            if setting.rate in task.plan.text_rates
        },
    }


def _wordless(original: View, name: str, comparison: Comparison, setting: Setting) -> Row:
    """The same picture at the same rate without text and maps."""
    plain = replace(setting, encode=without_text(setting.encode))
    encoded = comparison.own.encode(original.picture, plain)
    decoded = comparison.own.decode(encoded.data, plain.decode)
    measured = comparison.measure(original, decoded.picture, is_quick=True)
    return Row(
        source=name,
        codec="misc without text",
        rate=setting.rate,
        bpp=encoded.bpp,
        bytes=len(encoded.data),
        metrics=measured.values,
        undefined=measured.undefined,
        encode_seconds=encoded.seconds["total"],
        decode_seconds=decoded.seconds["total"],
    )


def _wrong_words(
    original: View, task: Task, comparison: Comparison, setting: Setting, encoded: Encoded
) -> dict[str, float | None]:
    """Figures of a file decoded with the words of the next picture, noise and maps being its own."""
    own, captions = comparison.own, comparison.captions
    other = own.texts(open_picture(task.following), setting, source_name=task.following.name, captions=captions)
    options = setting.decode.model_copy(update={"seed": seed_from(encoded.data)})
    swapped = replace(encoded.stream, texts=_as_many(other, len(encoded.stream.texts.details)))
    decoded = own.decode(pack(swapped).data, options)
    return comparison.measure(original, decoded.picture, is_quick=True).values


def _as_many(texts: Texts, count: int) -> Texts:
    """The texts with as many details as the maps of another picture need, repeated where there are fewer."""
    details = texts.details or (texts.overall[:60],)
    return Texts(tuple(details[index % len(details)] for index in range(count)), texts.overall)
