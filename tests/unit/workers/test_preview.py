"""Previews of a decode are small, few and in order."""

import base64
import io
from dataclasses import dataclass, field

import numpy as np
import pytest
from PIL import Image

from workers.decode.preview import MOST_BYTES, MOST_PREVIEWS, Previews


@dataclass
class Painting:
    """A request under way, whose picture is the hardest to pack."""

    steps_total: int
    steps_done: int = 0
    width: int = 512
    height: int = 340
    seconds: dict[str, float] = field(default_factory=dict)

    def preview(self) -> Image.Image:
        noise = np.random.default_rng(0).integers(0, 256, (self.height, self.width, 3), dtype=np.uint8)
        return Image.fromarray(noise)


@pytest.mark.parametrize("steps", [1, 2, 5, 16, 43, 500])
def test_few_previews_are_spread_over_the_steps(steps: int) -> None:
    previews, painting = Previews(0.0), Painting(steps)
    shown = []
    for done in range(1, steps + 1):
        painting.steps_done = done
        if (preview := previews.look(painting)) is not None:
            shown.append(preview["step"])
    assert len(shown) == min(steps - 1, MOST_PREVIEWS)
    assert shown == sorted(set(shown))
    gaps = np.diff([0, *shown, steps])
    assert gaps.max() - gaps.min() <= 1 or steps <= MOST_PREVIEWS + 4


def test_hardest_picture_still_fits() -> None:
    preview = Previews(0.0).look(Painting(2, 1))
    assert preview is not None
    file = base64.b64decode(preview["data"])
    assert len(file) <= MOST_BYTES and len(preview["data"]) <= 10_000
    picture = Image.open(io.BytesIO(file))
    assert picture.size == (preview["width"], preview["height"]) and max(picture.size) <= 256
    assert abs(preview["width"] / preview["height"] - 512 / 340) < 0.05


def test_quick_decode_shows_nothing_before_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("workers.decode.preview.time.monotonic", lambda: now)
    previews, painting = Previews(1.0), Painting(20, 5)
    assert previews.look(painting) is None
    now = 101.5
    assert previews.look(painting) is not None
    painting.steps_done = 10
    assert previews.look(painting) is None
    now = 102.5
    assert previews.look(painting) is not None


def test_very_long_picture_keeps_a_row() -> None:
    preview = Previews(0.0).look(Painting(2, 1, width=4000, height=3))
    assert preview is not None and (preview["width"], preview["height"]) == (256, 1)
