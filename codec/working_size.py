"""How large a picture is while it is restored. Needs no PyTorch."""

import math
from dataclasses import dataclass

_MAX_ELONGATION = 8
"""The long edge is raised to at most this many times the working size, so that a picture of one row stays small."""


@dataclass(frozen=True)
class WorkingSize:
    """Sides in pixels while restoring: `width` x `height` is the picture, the rest up to `padded_*` is padding."""

    width: int
    height: int
    padded_width: int
    padded_height: int

    @classmethod
    def of(cls, width: int, height: int, res_px: int, multiple_px: int) -> "WorkingSize":
        """For a picture of this size: the short edge is raised to `res_px`, and never reduced.

        A side is rounded up, as published. Very long pictures are raised less.
        """
        factor = min(res_px / min(width, height), _MAX_ELONGATION * res_px / max(width, height))
        if factor > 1:
            width, height = math.ceil(width * factor), math.ceil(height * factor)
        return cls(width, height, -(-width // multiple_px) * multiple_px, -(-height // multiple_px) * multiple_px)

    @property
    def padded_pixels(self) -> int:
        """Pixels with the padding."""
        return self.padded_width * self.padded_height
