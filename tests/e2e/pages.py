"""What tests of the pages have in common: pictures, files that fall on a page, waiting for what it shows."""

import base64
import io
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from skimage import data as photos

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
NO_CHROMIUM = "no Chromium is installed (Debian's package is `chromium`)"

SIZE = (192, 128)


def picture(number: int, size: tuple[int, int] = SIZE) -> bytes:
    """A crop of a photo that no other number gives, as PNG."""
    photo = Image.fromarray((photos.astronaut, photos.coffee, photos.chelsea)[number % 3]()).convert("RGB")
    left, top = 3 * number, 2 * number
    out = io.BytesIO()
    photo.crop((left, top, left + 270, top + 180)).resize(size).save(out, "PNG")
    return out.getvalue()


def name_of(number: int) -> str:
    """What that picture is called."""
    return f"{('portrait', 'coffee', 'cat')[number % 3]} {number:02}.png"


def drop(page: Any, files: list[tuple[str, bytes]]) -> None:
    """Let files fall on the page, as from a folder's window."""
    content = [[name, base64.b64encode(data).decode()] for name, data in files]
    page.evaluate(
        """(files) => {
          const transfer = new DataTransfer();
          for (const [name, data] of files) {
            const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
            transfer.items.add(new File([bytes], name, { type: "image/png" }));
          }
          document.getElementById("drop").dispatchEvent(
            new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
        }""",
        content,
    )


def until(page: Any, condition: str, seconds: float = 60) -> None:
    """Ask until it holds; playwright's own way needs an `eval`, which the page's policy forbids."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        time.sleep(0.1)


def look(page: Any, shot: Path | None = None) -> None:
    """No serious fault of access, by axe-core, and a picture of it."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    found = axe.Axe().run(page).response["violations"]
    serious = [
        (fault["id"], [node["target"] for node in fault["nodes"]])
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]
    assert serious == []
    if shot is not None:
        page.screenshot(path=str(shot), full_page=not shot.name.startswith("images"))
