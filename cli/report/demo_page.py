"""One HTML page, with everything in it, that shows what went in and what came back. Reads no network and no server."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from cli.report.html_report import data_url, style

if TYPE_CHECKING:
    from PIL import Image

_TEMPLATE = Path(__file__).with_name("demo_page.html")


@dataclass(frozen=True)
class ShownPicture:
    """One pair: both pictures in mode RGB and of the same size, and the server's own account of image and
    reconstruction."""

    name: str
    before: "Image.Image"
    after: "Image.Image"
    image: dict[str, Any]
    reconstruction: dict[str, Any]


def build_page(pictures: Sequence[ShownPicture]) -> str:
    """The page. Texts are escaped, whatever somebody has called a file or a thing in it."""
    total_bytes = sum(picture.image["bitstream_bytes"] for picture in pictures)
    template = Template(_TEMPLATE.read_text(encoding="utf-8"))
    return template.substitute(
        style=style(),
        title=f"{_count(len(pictures))} in {total_bytes:,} bytes",
        lead="Each one went through the HTTP interface, the queue, an encode worker and storage, and came back through "
        "a decode worker. Drag across a picture: left is what went in, right is what came back. Press an item to see "
        "where the file says it is.",
        honest=escape(honest_sentence({picture.reconstruction["restorer"] for picture in pictures})),
        rows="\n".join(_row(picture) for picture in pictures),
        pairs="\n".join(_pair(picture) for picture in pictures),
        footer="bpp is the bits of the .misc file per pixel of the original; the four bit counts add up to eight times "
        "its bytes. The .misc files and the pictures as PNG lie beside this page.",
    )


def honest_sentence(restorers: set[str]) -> str:
    """What in the pictures on the right is not to be believed."""
    names = ", ".join(sorted(restorers))
    if restorers == {"smooth"}:
        return (
            "What came back was enlarged from a very coarse picture by the restorer smooth, which has no network and "
            "adds nothing: detail that the file does not hold is gone. A generative restorer would invent it. Neither "
            "is a record of what was there: never use a reconstruction as evidence."
        )
    return (
        f"What came back was painted by a decoder ({names}) from a few words and a very coarse picture: detail that "
        "the file does not hold is invented. Never use a reconstruction as evidence."
    )


def _count(number: int) -> str:
    return "One picture" if number == 1 else f"{number} pictures"


def _row(picture: ShownPicture) -> str:
    image, bits = picture.image, picture.image["bits"]
    cells = [
        escape(picture.name),
        f"{image['width']} x {image['height']}",
        f"{image['original']['bytes']:,}" if image["original"] else "",
        f"{image['bitstream_bytes']:,}",
        f"{image['bpp']:.4f}",
        *(f"{bits[part]:,}" for part in ("container", "text", "maps", "coarse")),
        _seconds(image["seconds"]),
        _seconds(picture.reconstruction["seconds"]),
    ]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _seconds(seconds: dict[str, float] | None) -> str:
    return f"{seconds['total']:.2f}" if seconds and "total" in seconds else ""


def _pair(picture: ShownPicture) -> str:
    image = picture.image
    description = image["description"] or {"items": [], "overall": ""}
    maps = image["maps"] or []
    name = escape(picture.name)
    buttons = "".join(
        f'<li><button type="button" aria-pressed="false" data-map="{index}"{"" if index < len(maps) else " disabled"}>'
        f"{escape(_item_text(item))}</button></li>"
        for index, item in enumerate(description["items"])
    )
    return f"""<section class="pair">
<div class="head"><h2>{name}</h2><span>{image["bitstream_bytes"]:,} bytes, {image["bpp"]:.4f} bpp</span></div>
<div class="stage">
<img class="after" alt="{name}, as it came back" src="{data_url(picture.after)}">
<img class="before" alt="{name}, as it went in" src="{data_url(picture.before)}">
{"".join(_map_overlay(rows) for rows in maps)}
<span class="bar"></span><span class="label left">went in</span><span class="label right">came back</span>
<input type="range" min="0" max="100" value="50" step="0.5" aria-label="How much of {name} is shown as it went in">
</div>
<ul class="items">{buttons}</ul>
<p class="overall">{escape(description["overall"])}</p>
</section>"""


def _item_text(item: dict[str, str]) -> str:
    return f"{item['name']}: {item['detail']}" if item["name"] else item["detail"]


def _map_overlay(rows: Sequence[str]) -> str:
    """Everything that is not the item, darkened: one square for each block whose bit is 0."""
    cells = "".join(
        f'<rect x="{x}" y="{y}" width="1.02" height="1.02"/>'
        for y, row in enumerate(rows)
        for x, bit in enumerate(row)
        if bit == "0"
    )
    edge = len(rows)
    return f'<svg viewBox="0 0 {edge} {edge}" preserveAspectRatio="none" aria-hidden="true">{cells}</svg>'
