"""The page of the demo stands alone, shows every pair and lets nobody's text become markup."""

import base64
import io
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from PIL import Image

from cli.report.demo_page import ShownPicture, build_page, honest_sentence

_ROWS = ["10000000"] + ["00000000"] * 6 + ["00000011"]


def _pair(name: str = "one.png", size: tuple[int, int] = (64, 48), **image: Any) -> ShownPicture:
    told = {
        "width": size[0],
        "height": size[1],
        "original": {"bytes": 5000},
        "bitstream_bytes": 100,
        "bpp": 0.26,
        "bits": {"container": 120, "text": 300, "maps": 80, "coarse": 300},
        "seconds": {"total": 1.5},
        "description": {"items": [{"name": "ball", "detail": "a red ball"}], "overall": "A red ball."},
        "maps": [_ROWS],
    }
    reconstruction = {"restorer": "smooth", "seconds": {"total": 0.25}}
    return ShownPicture(
        name, Image.new("RGB", size, "navy"), Image.new("RGB", size, "teal"), told | image, reconstruction
    )


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str, css_class: str | None = None) -> list[dict[str, str | None]]:
        return [found for name, found in self.tags if name == tag and css_class in (None, found.get("class"))]


def test_each_pair_has_both_pictures_inside_the_page() -> None:
    page = _Page(build_page([_pair("one.png"), _pair("two.jpg")]))

    assert len(page.all("section", "pair")) == 2
    sources = [str(image["src"]) for image in page.all("img")]
    assert len(sources) == 4
    colours = []
    for source in sources:
        data = base64.b64decode(source.removeprefix("data:image/jpeg;base64,"))
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.size == (64, 48)
            colours.append(picture.convert("RGB").getpixel((30, 20)))
    assert colours[0] == pytest.approx((0, 128, 128), abs=3)
    assert colours[1] == pytest.approx((0, 0, 128), abs=3)


def test_nothing_is_fetched_from_anywhere() -> None:
    text = build_page([_pair()])

    page = _Page(text)
    links = [found.get(name) for _, found in page.tags for name in ("src", "href") if name in found]
    assert all(str(link).startswith("data:") for link in links)
    assert not re.search(r"https?://|url\(|@import", text)


def test_texts_are_shown_as_text() -> None:
    evil = "<script>alert(1)</script>"
    page = _Page(
        build_page(
            [
                _pair(
                    f'"><img src=x onerror=alert(1)>{evil}',
                    description={"items": [{"name": evil, "detail": "$title & more"}], "overall": evil},
                )
            ]
        )
    )

    assert len(page.all("script")) == 1
    assert not any("onerror" in found for _, found in page.tags)
    assert len(page.all("img")) == 2


def test_map_darkens_what_is_not_the_item() -> None:
    page = _Page(build_page([_pair()]))

    # 64 blocks, 3 of which are the item's.
    assert len(page.all("rect")) == 61
    assert page.all("svg")[0]["viewbox"] == "0 0 8 8"
    corners = {(rect["x"], rect["y"]) for rect in page.all("rect")}
    assert ("0", "0") not in corners
    assert ("7", "7") not in corners
    assert ("0", "7") in corners


def test_item_without_a_map_cannot_be_pressed() -> None:
    page = _Page(build_page([_pair(maps=None)]))

    assert "disabled" in page.all("button")[0]


def test_table_has_the_breakdown_and_the_seconds() -> None:
    text = build_page([_pair()])

    row = text[text.index("<tbody>") : text.index("</tbody>")]
    cells = re.findall(r"<td>([^<]*)</td>", row)
    assert cells == ["one.png", "64 x 48", "5,000", "100", "0.2600", "120", "300", "80", "300", "1.50", "0.25"]


def test_large_pictures_are_embedded_smaller() -> None:
    page = _Page(build_page([_pair(size=(4000, 2000))]))

    data = base64.b64decode(str(page.all("img")[0]["src"]).partition(",")[2])
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.size == (1280, 640)


def test_generative_restorer_is_said_to_invent() -> None:
    assert "is invented" in honest_sentence({"lite"})
    assert "adds nothing" in honest_sentence({"smooth"})
    assert all(
        "never use a reconstruction as evidence" in honest_sentence({name}).lower() for name in ("lite", "smooth")
    )
