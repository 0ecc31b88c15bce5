"""Each part of a picture listens to its own texts, and to nobody else's."""

import numpy as np
import pytest
import torch
from tiny_networks import ask, quarter_maps, smooth, tiny_network, tiny_networks

from codec.bitstream.stream import Texts
from codec.decode.diffusion.passes import plan_passes, region_weights
from codec.decode.diffusion.regions import fuse_regions, level_weights
from codec.decode.diffusion.sampling import Sampling
from codec.nets.diffbir.config import Prediction
from codec.working_size import WorkingSize

SIZE = WorkingSize.of(256, 256, 256, 64)
TIMES = torch.tensor([500])


def latents(seed: int) -> torch.Tensor:
    return torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(seed))


def predicted(texts: list[str], regions: torch.Tensor | None) -> torch.Tensor:
    networks = tiny_networks()
    return networks.predict(latents(1), TIMES, networks.embed(texts)[None], latents(2), regions=regions)


def halves(left: float) -> torch.Tensor:
    """Weights of two texts: `left` of the second in the left half, nothing of it in the right one."""
    second = torch.zeros(32, 32)
    second[:, :16] = left
    return torch.stack((1 - second, second))[None]


@torch.inference_mode()
def test_without_regions_the_networks_are_what_they_were() -> None:
    networks = tiny_networks()
    vectors = networks.embed(["a red door"])
    untouched = tiny_network(Prediction.EPS, zero_terminal_snr=False)
    alone = untouched.predict(latents(1), TIMES, vectors, latents(2))
    assert torch.equal(predicted(["a red door"], None), alone)


@torch.inference_mode()
def test_texts_that_are_alike_give_what_one_of_them_gives() -> None:
    together = predicted(["a red door", "a red door"], halves(0.5))
    assert (together - predicted(["a red door"], None)).abs().max() < 1e-5


@torch.inference_mode()
def test_a_text_without_weight_changes_nothing() -> None:
    ignored = predicted(["a red door", "an old clock"], halves(0.0))
    assert (ignored - predicted(["a red door"], None)).abs().max() < 1e-5


@torch.inference_mode()
def test_attention_to_a_text_ends_where_its_region_ends() -> None:
    network = tiny_network(Prediction.EPS, zero_terminal_snr=False)
    fuse_regions(network.unet)
    attention = network.unet.mid_block.attentions[0].transformer_blocks[0].attn2
    hidden = torch.randn(1, 1024, 32, generator=torch.Generator().manual_seed(3))
    first, second = tiny_networks().embed(["a red door", "an old clock"]).split(1)
    fused = attention(hidden, torch.cat((first, second), dim=1), regions=level_weights(halves(0.5), levels=1))
    plain, other = (attention(hidden, text).view(32, 32, -1) for text in (first, second))
    fused = fused.view(32, 32, -1)
    assert (fused[:, 16:] - plain[:, 16:]).abs().max() < 1e-5
    assert (fused[:, :16] - (plain + other)[:, :16] / 2).abs().max() < 1e-5
    assert (fused[:, :16] - plain[:, :16]).abs().mean() > 1e-3


@torch.inference_mode()
def test_both_networks_attend_by_region_at_every_level() -> None:
    fused = predicted(["a red door", "an old clock"], halves(1.0))
    first, second = predicted(["a red door"], None), predicted(["an old clock"], None)
    # What a network makes of one place depends a little on all others, so the halves are only closer, not the same.
    assert (fused - second)[..., :16].abs().mean() < (fused - first)[..., :16].abs().mean()
    assert (fused - first)[..., 16:].abs().mean() < (fused - second)[..., 16:].abs().mean()


def test_weights_of_coarser_levels_are_averages() -> None:
    levels = level_weights(halves(1.0), levels=3)
    assert [tuple(weights.shape) for weights in levels.values()] == [(1, 2, 1024), (1, 2, 256), (1, 2, 64)]
    assert torch.equal(levels[64][0, 1].view(8, 8), halves(1.0)[0, 1, ::4, ::4])


@torch.inference_mode()
def test_samples_of_a_batch_have_their_own_regions() -> None:
    networks = tiny_networks()
    vectors = networks.embed(["a red door", "an old clock"])[None].expand(2, -1, -1, -1)
    noisy, condition = latents(1).expand(2, -1, -1, -1), latents(2).expand(2, -1, -1, -1)
    regions = torch.cat((halves(0.5), halves(0.0)))
    both = networks.predict(noisy, TIMES.expand(2), vectors, condition, regions=regions)
    for sample, left in enumerate((0.5, 0.0)):
        alone = predicted(["a red door", "an old clock"], halves(left))
        assert (both[sample] - alone[0]).abs().max() < 1e-5


def test_weights_add_up_to_one_and_leave_the_overall_text_at_least_half() -> None:
    maps = quarter_maps()
    overlapping = (maps[0], np.maximum(maps[0], maps[1]))
    weights = region_weights(overlapping, SIZE, 8)
    assert weights is not None and weights.shape == (3, 32, 32)
    np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-6)
    assert weights[0].min() == pytest.approx(0.5) and weights[0, -1, -1] == 1
    # Where both maps hold, they share what one has where it holds alone.
    assert weights[1, 4, 4] == pytest.approx(0.25) and weights[2, 4, 4] == pytest.approx(0.25)
    assert weights[2, 4, 28] == pytest.approx(0.5)


def test_regions_end_with_the_picture_and_not_with_its_padding() -> None:
    wide = WorkingSize.of(200, 72, 72, 64)
    weights = region_weights((np.ones((8, 8), np.uint8),), wide, 8)
    assert weights is not None and weights.shape == (2, 16, 32)
    assert weights[1, :9, :25].min() == pytest.approx(0.5)
    assert weights[1, 9:].max() == 0 and weights[1, :, 25:].max() == 0


def test_items_without_text_or_place_are_left_out_of_the_fused_pass() -> None:
    maps = (quarter_maps()[0], np.zeros((8, 8), np.uint8), quarter_maps()[2])
    (fused,) = plan_passes(
        ask(smooth(64, 64), texts=Texts(("a door", "a clock", ""), "all of it"), maps=maps), Sampling()
    )
    assert fused.texts == ("all of it", "a door") and len(fused.regions) == 1
