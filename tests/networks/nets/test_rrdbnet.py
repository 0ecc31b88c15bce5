"""Stage 1's network: what it sees of a coarse picture, how it comes out of tensors, and what 8 bits do to it."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from codec.nets.lite.rrdbnet import REDUCTION, RRDBNet
from codec.nets.loading.int8 import SCALE, from_int8, to_int8

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def network() -> RRDBNet:
    torch.manual_seed(4)
    return RRDBNet(blocks=2).eval().requires_grad_(False)


@pytest.mark.parametrize(("height", "width"), [(4, 4), (16, 40)])
def test_picture_comes_back_at_its_size(network: RRDBNet, height: int, width: int) -> None:
    assert network(torch.rand(2, 3, height, width)).shape == (2, 3, height, width)


def test_every_sample_of_the_coarse_picture_has_a_say(network: RRDBNet) -> None:
    picture = torch.rand(1, 3, 8, 8, requires_grad=True)

    network(picture).square().sum().backward()

    assert picture.grad is not None and (picture.grad != 0).all()


def test_first_convolution_with_equal_weights_over_a_square_sees_its_mean() -> None:
    reduced = torch.nn.Conv2d(3, 64, 3, padding=1)
    whole = RRDBNet(blocks=0).first
    with torch.no_grad():
        whole.weight.copy_(reduced.weight.repeat_interleave(REDUCTION**2, 1) / REDUCTION**2)
        whole.bias.copy_(reduced.bias)
    picture = torch.rand(1, 3, 24, 32)

    expected = reduced(F.avg_pool2d(picture, REDUCTION))

    assert torch.allclose(whole(F.pixel_unshuffle(picture, REDUCTION)), expected, atol=1e-6)


def test_tensors_make_the_same_network_again(network: RRDBNet) -> None:
    again = RRDBNet.filled(dict(network.state_dict()))
    picture = torch.rand(1, 3, 16, 16)

    assert torch.equal(again(picture), network(picture))


@pytest.mark.parametrize("fault", ["missing", "extra", "shape", "none"])
def test_tensors_of_another_network_are_refused(network: RRDBNet, fault: str) -> None:
    tensors = dict(network.state_dict())
    if fault == "missing":
        del tensors["blocks.1.dense.0.fused.bias"]
    elif fault == "extra":
        tensors["blocks.2.dense.0.fused.bias"] = torch.zeros(64)
    elif fault == "shape":
        tensors["first.weight"] = torch.zeros(64, 3, 3, 3)
    else:
        tensors = {}

    with pytest.raises(RuntimeError):
        RRDBNet.filled(tensors)


def test_8_bits_change_no_weight_by_more_than_half_a_step(network: RRDBNet) -> None:
    tensors = dict(network.state_dict())

    stored = to_int8(tensors)
    again = from_int8(stored)

    assert set(again) == set(tensors)
    assert stored["first.weight"].dtype == torch.int8
    assert stored["first.bias"].dtype == torch.float16
    for name, values in tensors.items():
        step = stored[name + SCALE].view(-1, 1, 1, 1) if name + SCALE in stored else 1e-3
        assert ((again[name] - values).abs() <= 0.501 * step).all(), name


def test_channel_of_zeros_stays_zero_in_8_bits() -> None:
    values = torch.randn(64, 64, 3, 3)
    values[5] = 0

    again = from_int8(to_int8({"a.weight": values}))["a.weight"]

    assert (again[5] == 0).all() and again.isfinite().all()


def test_integers_without_their_scale_are_refused() -> None:
    stored = to_int8({"a.weight": torch.randn(64, 64, 3, 3)})
    del stored["a.weight" + SCALE]

    with pytest.raises(KeyError):
        from_int8(stored)
