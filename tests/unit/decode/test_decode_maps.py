"""Maps as arrays, and scaled to pictures that are not square."""

import numpy as np

from codec.bitstream import Maps
from codec.decode.maps import map_arrays, scale_map


def test_maps_become_arrays_in_order() -> None:
    arrays = map_arrays(Maps(4, (bytes([1] * 4 + [0] * 12), bytes(16))))
    assert [array.shape for array in arrays] == [(4, 4), (4, 4)]
    assert arrays[0].sum() == 4 and arrays[0][0].all() and not arrays[1].any()
    assert map_arrays(None) == ()


def test_map_is_scaled_to_the_pictures_own_shape() -> None:
    values = np.zeros((8, 8), dtype=np.uint8)
    values[:4, 4:] = 1
    scaled = scale_map(values, 320, 80)
    assert scaled.shape == (80, 320) and scaled.dtype == np.float32
    assert scaled[10, 300] == 1.0 and scaled[70, 300] == 0.0 and scaled[10, 20] == 0.0
    assert abs(scaled.mean() - 0.25) < 0.01
    assert 0 < scaled[10, 160] < 1
