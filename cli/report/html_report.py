"""What the pages that commands leave behind share: their style, and pictures embedded in them."""

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

_SHOWN_PX = 1280
"""Longest side of an embedded picture: sharp on a screen, and a page that a browser opens at once."""

_QUALITY = 90

_STYLE = Path(__file__).with_name("html_report.css")


def style() -> str:
    """The style sheet that every page begins with."""
    return _STYLE.read_text(encoding="utf-8")


def data_url(picture: "Image.Image") -> str:
    """The picture as an address that holds it: JPEG, reduced where it is large."""
    shown = picture.copy()
    shown.thumbnail((_SHOWN_PX, _SHOWN_PX))
    buffer = io.BytesIO()
    shown.save(buffer, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
