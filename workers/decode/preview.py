"""Preview pictures of a decode for those who watch its job: small, few, in order. Restores and publishes nothing."""

import base64
import io
import time
from typing import Any

from PIL import Image, features

from codec.decode.restore import RestoreState

MOST_PREVIEWS = 12
"""Of one decode, spread over its steps. News of a job is kept for an hour, in memory."""

MOST_BYTES = 7_500
"""Of one picture; ten thousand characters in base64."""

_SIZES = ((256, 75), (256, 45), (192, 40), (128, 30), (64, 20))
"""Long edge in pixels and quality, tried in this order; the last one always fits."""


class Previews:
    """What to show of one request under way."""

    def __init__(self, interval_seconds: float) -> None:
        """At least so much time lies between two pictures, and before the first."""
        self._interval_seconds = interval_seconds
        self._taken = 0
        self._last = time.monotonic()

    def look(self, state: RestoreState) -> dict[str, Any] | None:
        """After a step: the picture as it stands, if it is time for one and the decode is not over.

        `step` of `steps`, `width` and `height` in pixels, `media_type`, and the file as base64 in `data`.
        """
        done, total = state.steps_done, state.steps_total
        share = done * (MOST_PREVIEWS + 1) // max(1, total)
        if done >= total or share <= self._taken or time.monotonic() - self._last < self._interval_seconds:
            return None
        self._taken = share
        picture, media_type, file = _small_file(state.preview())
        self._last = time.monotonic()
        width, height = picture.size
        return {
            "step": done,
            "steps": total,
            "width": width,
            "height": height,
            "media_type": media_type,
            "data": base64.b64encode(file).decode(),
        }


def _small_file(picture: Image.Image) -> tuple[Image.Image, str, bytes]:
    form = "webp" if features.check("webp") else "jpeg"
    for edge, quality in _SIZES:
        small = picture.copy()
        small.thumbnail((edge, edge), Image.Resampling.BILINEAR)
        file = io.BytesIO()
        small.save(file, form, quality=quality)
        if file.tell() <= MOST_BYTES:
            break
    return small, f"image/{form}", file.getvalue()
