"""What the lite restorer is punished for: errors where they are seen, and texts that do not tell the detail."""

import torch
from torch import Tensor

from training.lite_loss import error_where_seen, painted_pattern, untold_detail

torch.set_num_threads(1)


def half_flat_half_lively() -> Tensor:
    """(1, 3, 64, 64): grey on the left, noise on the right."""
    torch.manual_seed(5)
    picture = torch.full((1, 3, 64, 64), 0.5)
    picture[..., 32:] += 0.2 * torch.randn(1, 1, 64, 32)
    return picture


def test_same_error_counts_more_in_a_flat_area_than_in_texture() -> None:
    picture = half_flat_half_lively()
    dots = 0.02 * torch.randn(1, 3, 64, 64)
    left, right = picture.clone(), picture.clone()
    left[..., :24] += dots[..., :24]
    right[..., 40:] += dots[..., 40:]

    assert error_where_seen(left, picture) > 20 * error_where_seen(right, picture) > 0
    assert error_where_seen(picture, picture) == 0


def test_a_weave_in_step_with_the_latents_counts_and_noise_hardly_does() -> None:
    coarse = half_flat_half_lively()
    weave = 0.01 * torch.sign(torch.randn(1, 3, 4, 4)).repeat(1, 1, 16, 16)
    noise = 0.01 * torch.sign(torch.randn(1, 3, 64, 64))

    assert painted_pattern(coarse + weave, coarse) > 8 * painted_pattern(coarse + noise, coarse) > 0
    assert painted_pattern(coarse + 0.1, coarse) < 1e-12, "another brightness is no pattern"


def test_texts_that_tell_the_detail_of_their_regions_cost_nothing() -> None:
    picture = half_flat_half_lively()
    regions = torch.zeros(1, 3, 16, 16)
    regions[:, 0, :, :8] = 1
    regions[:, 1, :, 8:] = 1
    told = torch.zeros(1, 3, 5, 4, requires_grad=True)
    descent = torch.optim.SGD([told], lr=5.0)
    for _ in range(200):
        descent.zero_grad()
        untold_detail(told, picture, regions).backward()
        descent.step()

    assert untold_detail(told, picture, regions) < 1e-4
    smooth, lively, nowhere = told.detach().mean(2)[0, :, 0]
    assert smooth < lively - 2
    assert nowhere == 0, "a text without a region is not asked"
