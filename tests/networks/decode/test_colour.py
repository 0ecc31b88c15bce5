"""The wavelet colour fix takes colours from one picture and details from the other, up to the edges."""

import torch

from codec.decode.restore.colour import fix_colours


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(3))


def published(picture: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """The decomposition band by band, with the two-dimensional kernel written out."""
    kernel = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]).div(16).expand(3, 1, 3, 3)

    def bands(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        high = torch.zeros_like(image)
        for level in range(5):
            padded = torch.nn.functional.pad(image, (2**level,) * 4, mode="replicate")
            low = torch.nn.functional.conv2d(padded, kernel, groups=3, dilation=2**level)
            high, image = high + image - low, low
        return high, image

    return bands(picture)[0] + bands(reference)[1]


def test_it_is_the_published_decomposition() -> None:
    picture, reference = noise(2, 3, 40, 56), 1 - noise(2, 3, 40, 56) ** 2
    torch.testing.assert_close(fix_colours(picture, reference), published(picture, reference), rtol=0, atol=1e-5)


def test_a_tint_is_taken_away_again() -> None:
    picture = noise(1, 3, 64, 64)
    tinted = picture + torch.tensor([0.2, -0.1, 0.05]).view(1, 3, 1, 1)
    torch.testing.assert_close(fix_colours(tinted, picture), picture, rtol=0, atol=1e-6)


def test_a_picture_smaller_than_the_widest_blur_keeps_its_shape() -> None:
    assert fix_colours(noise(1, 3, 5, 2), noise(1, 3, 5, 2)).shape == (1, 3, 5, 2)
