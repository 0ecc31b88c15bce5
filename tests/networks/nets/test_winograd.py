"""The trunk by Winograd's convolutions gives what the convolutions themselves give."""

import pytest
import torch

from codec.nets.lite.rrdbnet import RRDBNet
from codec.nets.lite.winograd import WinogradTrunk

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def network() -> RRDBNet:
    torch.manual_seed(0)
    return RRDBNet(blocks=2).eval().requires_grad_(False)


@pytest.mark.parametrize("size", [(1, 1), (3, 9), (4, 4), (8, 12), (13, 18), (17, 5)])
@pytest.mark.parametrize("batch", [1, 3])
def test_same_features_for_every_size(network: RRDBNet, size: tuple[int, int], batch: int) -> None:
    features = torch.randn(batch, 64, *size)
    torch.testing.assert_close(WinogradTrunk(network.blocks)(features), network.blocks(features), atol=1e-4, rtol=0)


def test_one_pass_leaves_nothing_to_the_next(network: RRDBNet) -> None:
    trunk = WinogradTrunk(network.blocks)
    first = torch.randn(1, 64, 12, 8)
    alone = trunk(first)
    trunk(100 * torch.randn(1, 64, 12, 8))
    assert torch.equal(trunk(first), alone)


def test_a_picture_is_the_same_among_others(network: RRDBNet) -> None:
    trunk = WinogradTrunk(network.blocks)
    features = torch.randn(4, 64, 16, 16)
    torch.testing.assert_close(trunk(features)[2:3], trunk(features[2:3]), atol=1e-5, rtol=0)
