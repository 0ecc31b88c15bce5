"""The picture as a language model gets to see it: reduced, without metadata. Says nothing about it."""

import base64
import hashlib
import io
import json
import math
from dataclasses import dataclass
from functools import cached_property

from PIL import Image

from codec.encode.describe.lmm.prompt import PROMPT_VERSION
from codec.language_model import LMMServer

_JPEG_QUALITY = 85
"""Above it the file grows and no model says anything else."""

_SHORTEST_EDGE_PX = 32
"""Models cut pictures into patches of 14 to 32 px, and some servers fail at pictures with less than one patch."""

_PATCH_PX = 28
"""Edge of what becomes one token in the Qwen-VL family, which is among the hungriest per pixel."""


@dataclass(frozen=True)
class View:
    """A reduced picture, RGB, as (height x width x 3) bytes."""

    width: int
    height: int
    pixels: bytes

    @classmethod
    def of(cls, picture: Image.Image, longest_edge_px: int) -> "View":
        """The picture with its long edge at `longest_edge_px` or less; edges under 32 px are stretched to that."""
        scale = min(1.0, longest_edge_px / max(picture.size))
        width, height = (max(_SHORTEST_EDGE_PX, round(edge * scale)) for edge in picture.size)
        rgb = picture if picture.mode == "RGB" else picture.convert("RGB")
        if rgb.size != (width, height):
            rgb = rgb.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
        return cls(width, height, rgb.tobytes())

    @property
    def picture(self) -> Image.Image:
        """The view as a picture; describing it is the same as describing the picture it was made of."""
        return Image.frombytes("RGB", (self.width, self.height), self.pixels)

    def key(self, server: LMMServer, salt: str = "") -> str:
        """SHA-256, as 64 hexadecimal digits, over all that decides what a model is asked about this picture. With a
        salt it is another one, so that who has the same picture learns nothing of the answer that is there."""
        parts = [PROMPT_VERSION, server.model, server.detail, self.width, self.height, *([salt] if salt else [])]
        head = json.dumps(parts)
        return hashlib.sha256(head.encode() + b"\n" + self.pixels).hexdigest()

    @cached_property
    def data_url(self) -> str:
        """The view as a JPEG in a base64 data URL, the one form that every server takes. It has nothing in it but
        pixels, because it is made from nothing else."""
        buffer = io.BytesIO()
        self.picture.save(buffer, "JPEG", quality=_JPEG_QUALITY)
        return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")

    @property
    def about_tokens(self) -> int:
        """What the picture may cost in tokens; for reservations only, since every model counts in its own way."""
        return math.ceil(self.width / _PATCH_PX) * math.ceil(self.height / _PATCH_PX)
