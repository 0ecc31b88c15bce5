"""SSD on MobileNetV2: boxes of common things, for a chosen few of COCO's classes. Which boxes count is decided here."""

from math import sqrt

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from codec.nets.tagger.blocks import InvertedResidual, SameConv2d, stages
from codec.nets.tagger.sighting import Box, Rectangle

SIDE_PX = 300
"""The square that pictures are squashed to."""

COCO_IDS = {
    "person": 1,
    "bicycle": 2,
    "car": 3,
    "motorcycle": 4,
    "airplane": 5,
    "boat": 9,
    "bird": 16,
    "cat": 17,
    "dog": 18,
    "horse": 19,
    "sheep": 20,
    "cow": 21,
}
"""The classes kept, in their order here, with their numbers in COCO. Each has its own sigmoid, so that the
others, which hold most of the published weights, can go: the classifier knows them."""

_ROWS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (3, 3, 2, 6, 32),
    (4, 3, 2, 6, 64),
    (3, 3, 1, 6, 96),
    (3, 3, 2, 6, 160),
    (1, 3, 1, 6, 320),
)
_FIRST_MAP_BLOCK = 13
"""The block whose expansion is the finest map that boxes are predicted from."""

_EXTRAS = ((1280, 256, 512), (512, 128, 256), (256, 128, 256), (256, 64, 128))
_WIDTHS = (576, 1280, 512, 256, 256, 128)
_SCALES = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0)
_ASPECTS = (1.0, 2.0, 0.5, 3.0, 0.3333)
_CENTRE_SCALE, _SIZE_SCALE = 10.0, 5.0
_OVERLAP = 0.5
_MOST_BOXES = 40


class Extra(nn.Module):
    """Halves the map: 1x1, then 3x3 of each channel by itself, then 1x1."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.reduce = SameConv2d(inputs, width, 1)
        self.depthwise = SameConv2d(width, width, 3, 2, groups=width)
        self.project = SameConv2d(width, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu6(self.project(F.relu6(self.depthwise(F.relu6(self.reduce(x))))))


class SSDMobileNetV2(nn.Module):
    """Liu et al., SSD (2016), on Sandler et al., MobileNetV2 (2018), as published in TensorFlow's model zoo.

    Pictures are (B, 3, 300, 300) in [0, 1].
    """

    def __init__(self, classes: int = len(COCO_IDS)) -> None:
        super().__init__()
        self.classes = classes
        self.stem = SameConv2d(3, 32, 3, 2)
        self.blocks = stages(32, _ROWS)
        self.head = SameConv2d(320, 1280, 1)
        self.extras = nn.ModuleList(Extra(*widths) for widths in _EXTRAS)
        counts = [3] + [len(_ASPECTS) + 1] * (len(_WIDTHS) - 1)
        rows = list(zip(_WIDTHS, counts, strict=True))
        self.scores = nn.ModuleList(SameConv2d(width, count * classes, 3) for width, count in rows)
        self.boxes = nn.ModuleList(SameConv2d(width, count * 4, 3) for width, count in rows)

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, N, classes) scores in [0, 1] and (B, N, 4) boxes as left, top, right, bottom in [0, 1]."""
        maps = self._maps(pictures * 2 - 1)
        batch = len(pictures)
        scores, codes = (
            torch.cat(
                [head(x).permute(0, 2, 3, 1).reshape(batch, -1, size) for head, x in zip(heads, maps, strict=True)], 1
            )
            for heads, size in ((self.scores, self.classes), (self.boxes, 4))
        )
        anchors = _anchors(tuple((x.shape[2], x.shape[3]) for x in maps))
        centre = anchors[:, :2] + codes[..., :2] / _CENTRE_SCALE * anchors[:, 2:]
        half = torch.exp(codes[..., 2:] / _SIZE_SCALE) * anchors[:, 2:] / 2
        corners = torch.cat([centre - half, centre + half], dim=-1).clamp(0, 1)
        # Codes are rows before columns.
        return scores.sigmoid(), corners[..., [1, 0, 3, 2]]

    def detect(self, picture: torch.Tensor, threshold: float) -> tuple[Box, ...]:
        """Boxes of (1, 3, 300, 300) with at least this score, highest first, overlapping ones of a class once."""
        scores, corners = (x[0] for x in self(picture))
        places, kinds = torch.nonzero(scores >= threshold, as_tuple=True)
        order = scores[places, kinds].argsort(descending=True, stable=True)
        names = tuple(COCO_IDS)
        found: list[Box] = []
        for place, kind in zip(places[order].tolist(), kinds[order].tolist(), strict=True):
            box = Box(names[kind], float(scores[place, kind]), Rectangle(*corners[place].tolist()))
            if not any(
                other.name == box.name and _union_share(other.rectangle, box.rectangle) > _OVERLAP for other in found
            ):
                found.append(box)
            if len(found) == _MOST_BOXES:
                break
        return tuple(found)

    def _maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        maps = []
        x = F.relu6(self.stem(x))
        for number, block in enumerate(self.blocks):
            assert isinstance(block, InvertedResidual)
            inner = block.expanded(x)
            if number == _FIRST_MAP_BLOCK:
                maps.append(inner)
            x = block.finished(x, inner)
        x = F.relu6(self.head(x))
        maps.append(x)
        for extra in self.extras:
            x = extra(x)
            maps.append(x)
        return maps


def _union_share(one: Rectangle, other: Rectangle) -> float:
    """The area of both over the area of either."""
    both = one.overlap(other) * min(one.area, other.area)
    return both / max(one.area + other.area - both, 1e-9)


def _anchors(shapes: tuple[tuple[int, int], ...]) -> torch.Tensor:
    """(N, 4): centre row, centre column, height and width of each anchor, place by place, map by map."""
    parts = []
    for level, (rows, columns) in enumerate(shapes):
        if level == 0:
            # The finest map has fewer: a small square, a flat and a tall one.
            sizes = [(0.1, 1.0), (_SCALES[0], 2.0), (_SCALES[0], 0.5)]
        else:
            between = sqrt(_SCALES[level] * _SCALES[level + 1])
            sizes = [(_SCALES[level], aspect) for aspect in _ASPECTS] + [(between, 1.0)]
        shape = torch.tensor([(scale / sqrt(aspect), scale * sqrt(aspect)) for scale, aspect in sizes])
        y, x = ((torch.arange(count) + 0.5) / count for count in (rows, columns))
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).reshape(-1, 1, 2)
        parts.append(torch.cat([grid.expand(-1, len(sizes), 2), shape.expand(len(grid), -1, 2)], dim=-1).reshape(-1, 4))
    return torch.cat(parts)
