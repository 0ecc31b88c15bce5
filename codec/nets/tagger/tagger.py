"""The three networks together: what they see in a picture, as numbers. Words and decisions are made elsewhere."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy.ndimage import find_objects, label
from torch import nn

from codec.nets.loading.int8 import from_int8
from codec.nets.tagger import classifier, detector
from codec.nets.tagger.classifier import EfficientNetLite0
from codec.nets.tagger.detector import SSDMobileNetV2
from codec.nets.tagger.saliency import U2NetP
from codec.nets.tagger.sighting import WHOLE, Floats, Rectangle, Sighting, View

MASK_PX = 224
"""The side of the mask. The network was trained at 320, where it costs twice as much and shows finer outlines than
any map of an item can hold."""

_LOWEST_SCORE = 0.3
"""Boxes below it are not passed on; who decides asks for more."""

_LONG_EDGE_PX = 1024
"""Pictures are reduced to this before parts are cut out."""

_STANDS_OUT = 0.5
_SMALLEST_PART = 0.004
_MOST_PARTS = 3
_MOST_BOX_VIEWS = 4
_PART_MARGIN, _BOX_MARGIN = 0.05, 0.12
"""Shares of the longer side. Masks are tight; boxes cut limbs off, and what is around them tells their things apart."""

_LONGEST_SHAPE = 1.6
"""How much longer than wide a part may be before it is squashed to a square; more of its surroundings is taken in."""


class Tagger(nn.Module):
    """Classifier, detector and saliency mask. One picture at a time; it has no state, so threads may share one."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = EfficientNetLite0()
        self.detector = SSDMobileNetV2()
        self.saliency = U2NetP()

    @classmethod
    def filled(cls, stored: Mapping[str, torch.Tensor]) -> "Tagger":
        """The networks with these quantised weights, all of them and no others, ready for use.

        Raises RuntimeError or KeyError for other names and shapes than a tagger has.
        """
        with torch.device("meta"):
            tagger = cls()
        tagger.load_state_dict(from_int8(stored), strict=True, assign=True)
        return tagger.eval().requires_grad_(False)

    @torch.inference_mode()
    def look(self, picture: Image.Image) -> Sighting:
        """What is seen in an upright RGB picture of any size."""
        scale = min(1.0, _LONG_EDGE_PX / max(picture.size))
        small = picture.resize(
            (max(1, round(picture.width * scale)), max(1, round(picture.height * scale))),
            Image.Resampling.BOX,
            reducing_gap=2.0,
        )
        mask = self.saliency(_square(small, WHOLE, MASK_PX))[0].numpy()
        parts = _parts(mask)
        boxes = self.detector.detect(_square(small, WHOLE, detector.SIDE_PX), _LOWEST_SCORE)[:_MOST_BOX_VIEWS]
        shape = small.width / small.height
        rectangles = [
            WHOLE,
            *(_widened(_bounds(part), shape, _PART_MARGIN) for part in parts),
            *(_widened(box.rectangle, shape, _BOX_MARGIN) for box in boxes),
        ]
        views, places = self._classify(small, rectangles)
        return Sighting(
            mask=mask,
            parts=parts,
            boxes=boxes,
            whole=views[0],
            part_views=tuple(views[1 : 1 + len(parts)]),
            box_views=tuple(views[1 + len(parts) :]),
            places=places,
        )

    def _classify(self, picture: Image.Image, rectangles: list[Rectangle]) -> tuple[list[View], Floats]:
        """The view of each rectangle, and the logits of the first one place by place."""
        views = []
        for number, rectangle in enumerate(rectangles):
            # One at a time: a batch needs more memory and is no faster on one core.
            features = self.classifier.features(_square(picture, rectangle, classifier.SIDE_PX))
            logits = self.classifier.classes(features.mean(dim=(2, 3)))[0]
            if number == 0:
                places: Floats = self.classifier.at_places(features)[0].permute(1, 2, 0).contiguous().numpy()
            views.append(View(rectangle, logits.softmax(0).numpy()))
        return views, places


def _square(picture: Image.Image, rectangle: Rectangle, side_px: int) -> torch.Tensor:
    """A part of the picture as (1, 3, side, side) float32 in [0, 1]."""
    width, height = picture.size
    left, top = rectangle.left * width, rectangle.top * height
    edges = left, top, max(left + 1, rectangle.right * width), max(top + 1, rectangle.bottom * height)
    edges = (min(edges[0], width - 1), min(edges[1], height - 1), min(edges[2], width), min(edges[3], height))
    squashed = picture.resize((side_px, side_px), Image.Resampling.BICUBIC, box=edges)
    return torch.from_numpy(np.array(squashed)).permute(2, 0, 1)[None].float() / 255


def _parts(mask: Floats) -> tuple[npt.NDArray[np.bool_], ...]:
    """The pieces of what stands out, largest first."""
    labels, count = label(mask > _STANDS_OUT)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    chosen = [number for number in np.argsort(-sizes, kind="stable") if sizes[number] >= _SMALLEST_PART * mask.size]
    return tuple(labels == number + 1 for number in chosen[:_MOST_PARTS])


def _bounds(part: npt.NDArray[np.bool_]) -> Rectangle:
    rows, columns = find_objects(part.astype(np.int8))[0]
    height, width = part.shape
    return Rectangle(columns.start / width, rows.start / height, columns.stop / width, rows.stop / height)


def _widened(rectangle: Rectangle, shape: float, share: float) -> Rectangle:
    """The rectangle with a margin, less elongated, inside the picture, whose width is `shape` times its height."""
    width, height = (rectangle.right - rectangle.left) * shape, rectangle.bottom - rectangle.top
    margin = share * max(width, height)
    width, height = width + 2 * margin, height + 2 * margin
    width, height = max(width, height / _LONGEST_SHAPE), max(height, width / _LONGEST_SHAPE)
    x, y = (rectangle.left + rectangle.right) / 2, (rectangle.top + rectangle.bottom) / 2
    half_width, half_height = width / shape / 2, height / 2
    return Rectangle(
        max(0.0, x - half_width), max(0.0, y - half_height), min(1.0, x + half_width), min(1.0, y + half_height)
    )
