"""Our SwinIR gives the figures of the published one, from the same weights."""

import numpy as np
import pytest
import torch
from figures import assert_agrees, figures
from weights import uniform

from codec.nets.diffbir.network import DiffBIR

_, FIGURES = figures("swinir")


def picture() -> torch.Tensor:
    batch, channels, height, width = FIGURES["y"].shape
    values = (uniform("swinir.image", (batch, channels, 2 * height, 2 * width)) + 1) / 2
    return torch.from_numpy(values.astype(np.float32))


def test_a_picture_is_cleaned_as_published(tiny_diffbir: DiffBIR) -> None:
    with torch.inference_mode():
        assert_agrees(tiny_diffbir.clean(picture())[:, :, ::2, ::2], FIGURES["y"])


def test_pictures_of_a_batch_are_cleaned_independently(tiny_diffbir: DiffBIR) -> None:
    first = picture()
    second = first.flip(3)
    with torch.inference_mode():
        together = tiny_diffbir.clean(torch.cat((first, second)))
        alone = tiny_diffbir.clean(second)
    torch.testing.assert_close(together[1:], alone, rtol=0, atol=1e-5)


def test_a_picture_of_broken_windows_is_refused(tiny_diffbir: DiffBIR) -> None:
    whole = tiny_diffbir.stage1.multiple_px
    with pytest.raises(ValueError, match=f"whole windows of {whole} px"):
        tiny_diffbir.clean(torch.zeros(1, 3, whole, whole + 8))
