"""Means of many rows by codec and rate, and CompressAI's form of them."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from codec.metrics.compare import Row


def summarise(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """One entry a codec and rate: number of images, mean bpp, means of metrics over the images that have them.

    Rows with errors do not count; `undefined` says by metric how many images have no figure. `over_budget` says how
    many files of a peer did not fit the bytes; they are in the means, since leaving out the hardest pictures would
    flatter the peer.
    """
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        if row.error is None:
            groups.setdefault((row.codec, row.rate), []).append(row)
    return [_entry(codec, rate, group) for (codec, rate), group in sorted(groups.items())]


def _entry(codec: str, rate: int, rows: Sequence[Row]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "codec": codec,
        "rate": rate,
        "images": len(rows),
        "bpp": _mean(row.bpp for row in rows),
        "metrics": {name: _mean(row.metrics.get(name) for row in rows) for name in rows[0].metrics},
        "encode_seconds": _mean(row.encode_seconds for row in rows),
        "decode_seconds": _mean(row.decode_seconds for row in rows),
    }
    undefined = {name: sum(row.metrics.get(name) is None for row in rows) for name in rows[0].metrics}
    entry["undefined"] = {name: count for name, count in undefined.items() if count}
    if "over_budget" in rows[0].details:
        entry["over_budget"] = sum(row.details["over_budget"] for row in rows)
    return entry


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def compressai_form(codec: str, summary: Sequence[dict[str, Any]], description: str) -> dict[str, Any]:
    """One codec's curve as CompressAI's benchmarks and plots have it: lists over the rates, in the order of bpp.

    A metric that some rate has no figure for is left out, since lists must have one length.
    """
    points = sorted((entry for entry in summary if entry["codec"] == codec), key=lambda entry: float(entry["bpp"]))
    names = list(points[0]["metrics"]) if points else []
    results: dict[str, list[float]] = {"bpp": [point["bpp"] for point in points]}
    for name in names:
        values = [point["metrics"][name] for point in points]
        if None not in values:
            results[name] = values
    for name, seconds in (("encoding_time", "encode_seconds"), ("decoding_time", "decode_seconds")):
        values = [point[seconds] for point in points]
        # Of pictures that somebody else made nobody knows how long it took.
        if None not in values:
            results[name] = values
    return {"name": codec, "description": description, "results": results}
