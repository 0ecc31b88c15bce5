"""What `bench.quality` measures on one picture: rows of all codecs, the wrong words, and no words. Prints nothing."""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from codec.bitstream import Texts, pack
from codec.captions import load_captions
from codec.decode.pipeline import seed_from
from codec.metrics.compare import Comparison, Row, compare_picture
from codec.metrics.metric import View
from codec.metrics.own import OwnCodec, Setting, restorer_here, settings_of, without_text
from codec.metrics.registry import load_metrics, share_processors
from codec.metrics.trials import Trials
from codec.options import Mode, Profile, RestorerName
from codec.picture.open import open_picture


@dataclass(frozen=True)
class Plan:
    """What is measured on every picture, in values that another process can be sent. `sqz` is the weights' file."""

    profile: str
    mode: str | None
    restorer: str | None
    peers: tuple[str, ...]
    text_rates: tuple[int, ...]
    captions: Path | None
    cache: Path
    sqz: Path | None
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
    return Comparison(
        own=OwnCodec(weights_store(), restorers()),
        settings=settings_of(
            weights_store(), profile=profile, mode=Mode(plan.mode) if plan.mode else None, restorer=restorer
        ),
        metrics=load_metrics(plan.sqz),
        peers=plan.peers,
        captions=captions,
        trials=Trials(plan.cache),
    )


def measure_picture(task: Task) -> dict[str, Any]:
    """`rows`, `wordless` (a row a rate, of files without text) and `wrong_words` (figures by rate)."""
    comparison = comparison_of(task.plan)
    picture = open_picture(task.source)
    name = task.source.name
    rows = compare_picture(picture, name, comparison, source_name=name)
    original = View(picture)
    return {
        "rows": rows,
        "wordless": [_wordless(original, name, comparison, setting) for setting in comparison.settings],
        "wrong_words": {
            setting.rate: _wrong_words(original, task, comparison, setting)
            for setting in comparison.settings
            if setting.rate in task.plan.text_rates
        },
    }


def _wordless(original: View, name: str, comparison: Comparison, setting: Setting) -> Row:
    """The same picture at the same rate without text and maps."""
    plain = replace(setting, encode=without_text(setting.encode))
    encoded = comparison.own.encode(original.picture, plain)
    decoded = comparison.own.decode(encoded.data, plain.decode)
    measured = comparison.metrics.measure(original, decoded.picture)
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
    original: View, task: Task, comparison: Comparison, setting: Setting
) -> dict[str, dict[str, float | None]]:
    """Figures of one file decoded with its own words and with those of the next picture, noise and maps being equal."""
    own, captions = comparison.own, comparison.captions
    encoded = own.encode(original.picture, setting, source_name=task.source.name, captions=captions)
    other = own.texts(open_picture(task.following), setting, source_name=task.following.name, captions=captions)
    options = setting.decode.model_copy(update={"seed": seed_from(encoded.data)})
    swapped = replace(encoded.stream, texts=_as_many(other, len(encoded.stream.texts.details)))
    return {
        "right": _figures(original, comparison, own.decode(encoded.data, options).picture),
        "wrong": _figures(original, comparison, own.decode(pack(swapped).data, options).picture),
    }


def _as_many(texts: Texts, count: int) -> Texts:
    """The texts with as many details as the maps of another picture need, repeated where there are fewer."""
    details = texts.details or (texts.overall[:60],)
    return Texts(tuple(details[index % len(details)] for index in range(count)), texts.overall)


def _figures(original: View, comparison: Comparison, picture: Image.Image) -> dict[str, float | None]:
    return comparison.metrics.measure(original, picture).values
