"""Tiles cover every picture, their windows add up to one, and a single tile is left as it is."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_networks import smooth, textured, tiny_networks

from codec.decode.diffusion.tiles import MAX_ASPECT, Sweep, Tiling, smallest_tile_pixels

CPU = torch.device("cpu")


@pytest.mark.parametrize("unit", [1, 8])
@pytest.mark.parametrize(
    ("height", "width", "edge"),
    [(64, 64, 256), (512, 768, 256), (1024, 1536, 512), (3008, 4032, 1024), (64, 65_536, 512), (1536, 64, 128)],
)
def test_tiles_are_equal_overlap_and_blend_to_one_everywhere(height: int, width: int, edge: int, unit: int) -> None:
    tiling = Tiling.cut(height, width, edge**2, 64)
    for axis in (tiling.rows, tiling.columns):
        total = np.zeros(axis.length // unit)
        for start, window in zip(axis.starts, axis.windows(unit), strict=True):
            assert start % 64 == 0 and window.min() >= 0
            total[start // unit : (start + axis.tile) // unit] += window
        np.testing.assert_allclose(total, 1, atol=1e-12)
        gaps = np.diff(axis.starts)
        assert axis.starts[0] == 0 and axis.starts[-1] + axis.tile == axis.length
        assert not len(gaps) or gaps.max() <= axis.tile - 64
    tile = tiling[len(tiling) - 1]
    assert tile.height * tile.width <= edge**2 and max(tile.height, tile.width) <= max(
        MAX_ASPECT * edge, min(height, width)
    )


def test_a_picture_that_fits_is_one_tile_whatever_its_shape() -> None:
    assert len(Tiling.cut(1024, 1536, 1255**2, 64)) == 1
    assert len(Tiling.cut(64, 16_384, 1024**2, 64)) == 1
    assert len(Tiling.cut(1024, 1088, 1024**2, 64)) == 2


def test_a_budget_below_the_smallest_tile_gives_the_smallest() -> None:
    tile = Tiling.cut(640, 640, 1, 64)[0]
    assert tile.height * tile.width == smallest_tile_pixels(64)


def test_neighbours_alone_hold_where_a_tile_ends() -> None:
    axis = Tiling.cut(256, 1024, 256**2, 64).columns
    for index, window in enumerate(axis.windows(1)):
        if index > 0:
            assert window[: (axis.starts[index - 1] + axis.tile - axis.starts[index]) // 4].max() == 0


def sweep_with(
    network: Callable[[torch.Tensor], torch.Tensor], values: torch.Tensor, edge: int, unit_in: int, unit_out: int
) -> tuple[torch.Tensor, Tiling]:
    """`network` over all tiles of `values`."""
    height, width = (side * unit_in for side in values.shape[2:])
    tiling = Tiling.cut(height, width, edge**2, 64)
    channels = network(tiling[0].of(values, unit_in)).shape[1]
    sweep = Sweep(tiling, channels, unit_out, CPU)
    while not sweep.is_done:
        sweep.add(network(sweep.tile.of(values, unit_in)))
    return sweep.result, tiling


def as_tensor(picture: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(picture.transpose(2, 0, 1)[None] / 255.0).float()


def predict(noisy: torch.Tensor) -> torch.Tensor:
    networks = tiny_networks()
    vectors = networks.embed(["a house"])[:, None]
    return networks.predict(noisy, torch.tensor([500]), vectors, noisy)


def stages(picture: torch.Tensor) -> dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], torch.Tensor, int, int]]:
    networks = tiny_networks()
    latents = networks.encode(picture)
    return {
        "clean": (networks.clean, picture, 1, 1),
        "encode": (networks.encode, picture, 1, 8),
        "diffuse": (predict, latents, 8, 8),
        "decode": (networks.decode, latents, 8, 1),
    }


@pytest.mark.parametrize("stage", ["clean", "encode", "diffuse", "decode"])
@torch.inference_mode()
def test_one_tile_is_exactly_the_untiled_result(stage: str) -> None:
    network, values, unit_in, unit_out = stages(as_tensor(textured(128, 192)))[stage]
    tiled, tiling = sweep_with(network, values, 256, unit_in, unit_out)
    assert len(tiling) == 1
    assert torch.equal(tiled, network(values))


def steepness_at_tile_ends(values: torch.Tensor, tiling: Tiling, unit: int) -> float:
    """Mean absolute difference of neighbours across the ends of tiles, relative to that of all other neighbours.

    What is near the ends of the picture is left out, because networks that pad with zeros make an edge there.
    """
    rim = 32 // unit
    inside, across = [], []
    for axis, dimension in ((tiling.rows, 2), (tiling.columns, 3)):
        steps = values.diff(dim=dimension).abs().movedim(dimension, 0).flatten(1).mean(dim=1)
        ends = {start // unit - 1 for start in axis.starts} | {(start + axis.tile) // unit - 1 for start in axis.starts}
        for place, step in list(enumerate(steps.tolist()))[rim:-rim]:
            (across if place in ends else inside).append(step)
    return float(np.mean(across) / np.mean(inside))


@pytest.mark.parametrize("kind", ["smooth", "textured"])
@pytest.mark.parametrize("stage", ["clean", "encode", "diffuse", "decode"])
@torch.inference_mode()
def test_several_tiles_leave_no_seam_in_any_stage(stage: str, kind: str) -> None:
    picture = smooth(256, 384) if kind == "smooth" else textured(256, 384)
    network, values, unit_in, unit_out = stages(as_tensor(picture))[stage]
    tiled, tiling = sweep_with(network, values, 192, unit_in, unit_out)
    assert len(tiling) == 6
    assert steepness_at_tile_ends(tiled, tiling, unit_out) <= 1.1
