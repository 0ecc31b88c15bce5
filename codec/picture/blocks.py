"""The blocks of mode pixel as a picture of as many pixels."""

import numpy as np
from PIL import Image

from codec.errors import StreamCorrupt


def blocks_picture(columns: int, rows: int, level: int, samples: bytes) -> Image.Image:
    """The picture (RGB, columns x rows), each sample in the middle of the step that it was floored from.

    Raises StreamCorrupt when the samples are not `columns * rows * 3` numbers of `8 - level` bits.
    """
    numbers = np.frombuffer(samples, dtype=np.uint8)
    if len(numbers) != columns * rows * 3 or (numbers >> (8 - level)).any():
        raise StreamCorrupt(f"The {columns}x{rows} blocks of the stream do not have proper samples.")
    values = (numbers.astype(np.uint16) << level) + ((1 << level) >> 1)
    return Image.fromarray(values.astype(np.uint8).reshape(rows, columns, 3))
