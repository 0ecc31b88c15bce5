"""One HTML page, with everything in it, that shows codecs side by side at one rate, figures beneath each picture."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from cli.report.demo_page import honest_sentence
from cli.report.html_report import data_url, style

if TYPE_CHECKING:
    from codec.metrics.compare import Row

_TEMPLATE = Path(__file__).with_name("eval_page.html")

_SHOWN_PEER = "avif"


def build_page(
    rows: "Sequence[Row]",
    summary: Sequence[Mapping[str, Any]],
    pictures: Mapping[tuple[str, str], Path],
    rate: int,
    is_distance: Mapping[str, bool],
    outside: Sequence[str] = (),
) -> str:
    """The page. `pictures` has the file of each source and codec that is shown, originals under "original".

    Of the peers AVIF is shown, or the first one that took part. Texts are escaped, whatever somebody has called a file.
    """
    from codec.metrics.compare import OURS, OURS_COARSE

    found = [row for row in rows if row.rate == rate and row.error is None]
    own = (OURS, OURS_COARSE, *outside)
    peers = [codec for codec in dict.fromkeys(row.codec for row in found) if codec not in own]
    peer = _SHOWN_PEER if _SHOWN_PEER in peers else next(iter(peers), None)
    columns = {
        OURS_COARSE: "misc, the coarse picture alone",
        OURS: "misc, restored",
        **({peer: f"{peer}, its best within the same bytes"} if peer else {}),
        **{codec: f"{codec}, as given" for codec in outside},
    }
    sources = list(dict.fromkeys(row.source for row in found))
    shown = [source for source in sources if (source, OURS) in pictures]
    by_key = {(row.source, row.codec): row for row in found}
    names = list(is_distance)
    restorers = {row.details["restorer"] for row in found if "restorer" in row.details}
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        style=style(),
        title=f"{len(sources)} pictures at rate {rate}",
        lead="Each picture was encoded, and every peer was given the scale, setting and quality that look best within "
        "the same bytes. Whole files count.",
        honest=escape(honest_sentence(restorers)),
        heads="".join(f"<th>{escape(head)}</th>" for head in ("codec", "rate", "bpp", *names)),
        rows="\n".join(_summary_row(entry, names) for entry in summary),
        pictures="\n".join(_section(source, columns, by_key, pictures, is_distance) for source in shown),
        footer=escape(
            "bpp is the bits of the whole file per pixel of the original. "
            + ", ".join(f"{name}: {'less' if less else 'more'} is better" for name, less in is_distance.items())
            + (f". The first {len(shown)} of {len(sources)} pictures are shown." if len(shown) < len(sources) else ".")
        ),
    )


def _summary_row(entry: Mapping[str, Any], names: Sequence[str]) -> str:
    figures = [entry["bpp"], *(entry["metrics"].get(name) for name in names)]
    cells = [escape(str(entry["codec"])), str(entry["rate"]), *(_figure(value) for value in figures)]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _section(
    source: str,
    columns: Mapping[str, str],
    rows: "Mapping[tuple[str, str], Row]",
    pictures: Mapping[tuple[str, str], Path],
    is_distance: Mapping[str, bool],
) -> str:
    figures = [_side(source, "original", pictures[source, "original"], "")]
    for codec, words in columns.items():
        row = rows.get((source, codec))
        if row is not None and (source, codec) in pictures:
            figures.append(_side(source, words, pictures[source, codec], _caption(row, is_distance)))
    sides = "\n".join(figures)
    return f'<section class="picture"><h2>{escape(source)}</h2><div class="sides">\n{sides}\n</div></section>'


def _side(source: str, words: str, file: Path, caption: str) -> str:
    from PIL import Image

    with Image.open(file) as picture:
        address = data_url(picture)
    alt = escape(f"{source}: {words}")
    return (
        f'<figure><img alt="{alt}" src="{address}">'
        f"<figcaption><strong>{escape(words)}</strong>{caption}</figcaption></figure>"
    )


def _caption(row: "Row", is_distance: Mapping[str, bool]) -> str:
    figures = ", ".join(f"{escape(name)} {_figure(row.metrics.get(name))}" for name in is_distance)
    over = " (over the budget)" if row.details.get("over_budget") else ""
    how = f"; 1/{row.details['scale']} scale, quality {row.details['quality']}" if "scale" in row.details else ""
    return f"<br>{row.bytes:,} bytes, {row.bpp:.4f} bpp{over}{how}<br>{figures}"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"
