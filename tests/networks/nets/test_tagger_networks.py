"""The tagger's networks: padding, anchors, boxes and stored integers as numbers, with weights that make them known."""

import pytest
import torch
from PIL import Image

from codec.nets.loading.int8 import SCALE, from_int8
from codec.nets.tagger.blocks import InvertedResidual, SameConv2d
from codec.nets.tagger.classifier import EfficientNetLite0
from codec.nets.tagger.detector import COCO_IDS, SSDMobileNetV2
from codec.nets.tagger.saliency import UBlock
from codec.nets.tagger.tagger import Tagger
from training.tagger_int8 import quantize


def ones(convolution: SameConv2d) -> SameConv2d:
    torch.nn.init.ones_(convolution.weight)
    torch.nn.init.zeros_(convolution.bias)
    return convolution


@torch.no_grad()
def test_odd_pixel_of_padding_lies_below_and_right() -> None:
    strided = ones(SameConv2d(1, 1, 3, stride=2))

    assert strided(torch.ones(1, 1, 4, 4))[0, 0].tolist() == [[9, 6], [6, 4]]
    assert strided(torch.ones(1, 1, 5, 5))[0, 0].tolist() == [[4, 6, 4], [6, 9, 6], [4, 6, 4]]


@torch.no_grad()
def test_block_adds_its_input_only_where_shapes_agree() -> None:
    x = torch.rand(1, 4, 6, 6)
    same, other = InvertedResidual(4, 4, 3, 1, 6), InvertedResidual(4, 4, 3, 2, 6)
    for block in (same, other):
        torch.nn.init.zeros_(block.project.weight)
        torch.nn.init.zeros_(block.project.bias)

    assert torch.equal(same(x), x)
    assert other(x).shape == (1, 4, 3, 3) and not other(x).any()


@torch.no_grad()
def test_logits_of_places_average_to_those_of_the_picture() -> None:
    torch.manual_seed(1)
    network, picture = EfficientNetLite0().eval(), torch.rand(1, 3, 96, 64)
    places = network.at_places(network.features(picture))

    assert places.shape == (1, 1000, 3, 2)
    torch.testing.assert_close(places.mean(dim=(2, 3)), network(picture), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_boxes_without_offsets_are_the_published_anchors() -> None:
    network = SSDMobileNetV2(classes=2).eval()
    for head in network.boxes:
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    scores, boxes = network(torch.rand(1, 3, 300, 300))

    assert (scores.shape, boxes.shape) == ((1, 1917, 2), (1, 1917, 4))
    # The middle of the 19 x 19 map: a square of a tenth of the picture; a flat box of twice its area's width.
    middle = 3 * (9 * 19 + 9)
    torch.testing.assert_close(boxes[0, middle], torch.tensor([0.45, 0.45, 0.55, 0.55]))
    flat = boxes[0, middle + 1]
    torch.testing.assert_close(flat[2] - flat[0], torch.tensor(0.2 * 2**0.5))
    torch.testing.assert_close(flat[3] - flat[1], torch.tensor(0.2 / 2**0.5))
    # The last one is alone on its map and covers nearly all.
    torch.testing.assert_close(
        boxes[0, -1], torch.tensor([0.5 - 0.9747 / 2] * 2 + [0.5 + 0.9747 / 2] * 2), atol=1e-4, rtol=0
    )


@torch.no_grad()
def test_overlapping_boxes_of_one_class_are_one_and_those_of_two_are_two() -> None:
    network = SSDMobileNetV2().eval()
    scores, corners = (
        torch.zeros(1, 3, len(COCO_IDS)),
        torch.tensor([[[0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.55], [0.6, 0.6, 0.9, 0.9]]]),
    )
    scores[0, 0, 0], scores[0, 1, 0], scores[0, 1, 1], scores[0, 2, 0] = 0.9, 0.8, 0.7, 0.6
    network.forward = lambda picture: (scores, corners)  # type: ignore[method-assign]
    found = network.detect(torch.rand(1, 3, 300, 300), 0.5)

    assert [(box.name, round(box.score, 1)) for box in found] == [("person", 0.9), ("bicycle", 0.7), ("person", 0.6)]
    assert found[0].rectangle.right == 0.5


@pytest.mark.parametrize("is_dilated", [False, True])
@torch.no_grad()
def test_u_block_keeps_odd_sizes(is_dilated: bool) -> None:
    assert UBlock(4, 3, is_dilated=is_dilated)(torch.rand(1, 3, 13, 7)).shape == (1, 64, 13, 7)


def test_stored_integers_are_within_half_a_step_of_small_channels_and_the_best_of_those_tried_for_others() -> None:
    torch.manual_seed(2)
    weight = torch.rand(5, 3, 3, 3) - 0.5
    weight[4] = 0
    bias = torch.tensor([0.25, -3.0, 0.0, 1.5, 2.0])
    stored = quantize({"a.weight": weight, "a.bias": bias})

    assert {name: tensor.dtype for name, tensor in stored.items()} == {
        "a.weight": torch.int8, "a.weight" + SCALE: torch.float16, "a.bias": torch.float16,
    }  # fmt: skip
    back = from_int8(stored)
    assert set(back) == {"a.weight", "a.bias"} and torch.equal(back["a.bias"], bias)
    scale = stored["a.weight" + SCALE].float()
    assert ((back["a.weight"] - weight).abs().amax(dim=(1, 2, 3)) <= scale / 2 + 1e-6).all()
    assert not back["a.weight"][4].any()


def test_one_large_weight_does_not_coarsen_all_others_of_its_channel() -> None:
    weight = torch.full((1, 999), 0.01)
    weight[0, ::2] = -0.0143
    weight[0, 0] = 1.4
    back = from_int8(quantize({"w": weight}))["w"]

    naive = (weight / (1.4 / 127)).round() * (1.4 / 127)
    assert ((back - weight) ** 2).sum() <= ((naive - weight) ** 2).sum()


def test_file_of_another_network_is_refused() -> None:
    with pytest.raises(RuntimeError, match="Missing key"):
        Tagger.filled({"classifier.stem.weight": torch.zeros(1)})
    with pytest.raises(KeyError, match="scale"):
        Tagger.filled({"classifier.stem.weight": torch.zeros(32, 3, 3, 3, dtype=torch.int8)})


@pytest.mark.parametrize("size", [(1, 1), (3, 400), (400, 3), (50, 40)])
def test_pictures_of_any_shape_are_looked_at(size: tuple[int, int]) -> None:
    torch.manual_seed(3)
    sighting = Tagger().eval().look(Image.new("RGB", size, (90, 120, 60)))

    assert sighting.mask.shape == (224, 224) and 0 <= sighting.mask.min() <= sighting.mask.max() <= 1
    assert sighting.places.shape == (7, 7, 1000)
    views = (sighting.whole, *sighting.part_views, *sighting.box_views)
    assert all(abs(float(view.probabilities.sum()) - 1) < 1e-4 for view in views)
    assert len(sighting.part_views) == len(sighting.parts) and len(sighting.box_views) == len(sighting.boxes)
