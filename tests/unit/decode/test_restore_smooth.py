"""The smooth restorer: what it keeps, what it improves, and that neither strips nor steps can be seen."""

import dataclasses

import numpy as np
import pytest
from PIL import Image
from skimage import data

from codec.bitstream.stream import ExternalCoarse, PixelCoarse, RefCoarse, Texts
from codec.decode.restore import RestoreRequest, get_restorer, smooth
from codec.decode.restore.smooth import Smooth
from codec.options import DecodeOptions, RestorerName


def request(coarse, payload, *, seed=1):
    return RestoreRequest(np.asarray(coarse), Texts(), (), DecodeOptions(), seed, payload)


def blocks_of(picture, columns, rows, level=3):
    averages = np.asarray(picture.resize((columns, rows), Image.Resampling.BOX))
    return PixelCoarse(columns, rows, level, (averages >> level).tobytes())


def enlarged(blocks, size):
    values = np.frombuffer(blocks.samples, np.uint8).reshape(blocks.rows, blocks.columns, 3)
    middle = (values.astype(np.int32) << blocks.level) + ((1 << blocks.level) >> 1)
    return Image.fromarray(middle.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)


def restore(the_request):
    restorer = Smooth()
    return restorer.finish(restorer.begin(the_request))


def psnr(one, other):
    difference = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    return 10 * np.log10(255**2 / np.mean(difference**2))


def photos():
    return [Image.fromarray(picture) for picture in (data.astronaut(), data.coffee(), data.chelsea(), data.rocket())]


def test_registry_has_it_under_its_name_and_it_is_not_generative():
    restorer = get_restorer(RestorerName.SMOOTH)
    assert isinstance(restorer, Smooth)
    assert (restorer.name, restorer.generative) == ("smooth", False)


def test_photos_come_back_nearer_to_the_original_than_by_plain_enlargement():
    gains = []
    for photo in photos():
        blocks = blocks_of(photo, 32, max(1, round(32 * photo.height / photo.width)))
        coarse = enlarged(blocks, photo.size)
        gains.append(psnr(restore(request(coarse, blocks)), photo) - psnr(coarse, photo))
    assert min(gains) > 0.0
    assert np.mean(gains) > 0.2


@pytest.mark.parametrize("level", [3, 4, 6])
def test_block_averages_stay_in_the_intervals_they_were_quantised_to(level):
    photo = Image.fromarray(data.astronaut())
    blocks = blocks_of(photo, 32, 32, level)
    picture = np.asarray(restore(request(enlarged(blocks, photo.size), blocks)), np.float64)
    averages = picture.reshape(32, 16, 32, 16, 3).mean(axis=(1, 3))
    low = np.frombuffer(blocks.samples, np.uint8).reshape(32, 32, 3).astype(int) << level
    outside = np.maximum(low - 0.5 - averages, averages - (low + (1 << level) - 0.5))
    # The last enlargement is bicubic and clipped to bytes, which moves averages beside the sharpest edges a little.
    assert (outside <= 0.5).mean() > 0.97


@pytest.mark.parametrize("level", [3, 4, 5])
def test_quantised_ramp_loses_its_banding(level):
    ramp = np.broadcast_to(np.linspace(40, 100, 256)[None, :, None], (64, 256, 3))
    photo = Image.fromarray(np.rint(ramp).astype(np.uint8))
    blocks = blocks_of(photo, 64, 16, level)
    coarse = enlarged(blocks, photo.size)
    error = np.abs(np.asarray(restore(request(coarse, blocks)), int) - np.asarray(photo, int))
    error_before = np.abs(np.asarray(coarse, int) - np.asarray(photo, int))
    assert error.mean() < 0.5 * error_before.mean()


def test_edge_becomes_steeper_than_by_plain_enlargement():
    step = np.zeros((128, 128, 3), np.uint8)
    step[:, 70:] = 200
    photo = Image.fromarray(step)
    blocks = blocks_of(photo, 16, 16)
    coarse = enlarged(blocks, photo.size)
    steepest = [int(np.diff(np.asarray(p, int)[64, :, 0]).max()) for p in (coarse, restore(request(coarse, blocks)))]
    assert steepest[1] > 1.3 * steepest[0]


def test_flat_picture_stays_exactly_flat():
    blocks = PixelCoarse(8, 8, 3, bytes([10, 20, 30] * 64))
    picture = np.asarray(restore(request(np.zeros((96, 96, 3), np.uint8), blocks)))
    assert np.unique(picture.reshape(-1, 3), axis=0).tolist() == [[84, 164, 244]]


@pytest.mark.parametrize(
    ("width", "height", "columns", "rows"),
    [(1, 1, 1, 1), (2, 1, 2, 1), (5000, 2, 32, 1), (2, 5000, 1, 32), (7, 5, 7, 5), (33, 21, 32, 20), (3, 3, 256, 256)],
)
def test_any_size_and_grid_comes_back_in_the_picture_size(width, height, columns, rows):
    samples = np.random.default_rng(3).integers(0, 32, columns * rows * 3, dtype=np.uint8)
    blocks = PixelCoarse(columns, rows, 3, samples.tobytes())
    restorer = Smooth()
    state = restorer.begin(request(np.zeros((height, width, 3), np.uint8), blocks))
    assert max(state.preview().size) <= 512
    picture = restorer.finish(state)
    assert (picture.mode, picture.size) == ("RGB", (width, height))


def test_steps_of_two_states_together_equal_each_alone_and_end_exactly():
    photo, other = Image.fromarray(data.chelsea()), Image.fromarray(data.coffee())
    requests = [
        request(enlarged(blocks_of(photo, 32, 21), photo.size), blocks_of(photo, 32, 21)),
        request(other, RefCoarse("avif", 2, bytes(2000))),
    ]
    restorer = Smooth()
    states = [restorer.begin(one) for one in requests]
    while any(state.steps_done < state.steps_total for state in states):
        restorer.step(states)
    assert [state.steps_done for state in states] == [state.steps_total for state in states]
    restorer.step(states)
    assert [state.steps_done for state in states] == [state.steps_total for state in states]
    for state, one in zip(states, requests, strict=True):
        assert np.array_equal(np.asarray(restorer.finish(state)), np.asarray(restore(one)))


def test_same_request_gives_the_same_bytes_whatever_the_seed():
    photo = Image.fromarray(data.astronaut())
    one = request(photo, blocks_of(photo, 32, 32))
    assert restore(one).tobytes() == restore(dataclasses.replace(one, seed=99)).tobytes()


@pytest.mark.parametrize(
    "payload", [RefCoarse("webp", 4, bytes(500)), RefCoarse("avif", 1, bytes(500)), None, "blocks"]
)
def test_strips_leave_no_seam(monkeypatch, payload):
    photo = Image.fromarray(data.chelsea())
    one = request(photo, blocks_of(photo, 32, 21) if payload == "blocks" else payload)
    whole = np.asarray(restore(one), int)
    monkeypatch.setattr(smooth, "_strip_rows", lambda width: 37)
    strips = np.asarray(restore(one), int)
    # The enlargement's coefficients are computed from the strip's own origin and may round differently by one.
    assert np.abs(whole - strips).max() <= (1 if payload == "blocks" else 0)
    assert (whole != strips).mean() < 0.001


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_picture_of_another_codec_is_hardly_touched(scale):
    photo = Image.fromarray(data.astronaut())
    coarse = photo.reduce(scale).resize(photo.size, Image.Resampling.BICUBIC)
    restored = restore(request(coarse, RefCoarse("avif", scale, bytes(3000))))
    assert 0 < np.abs(np.asarray(restored, int) - np.asarray(coarse, int)).mean() < 1.5
    if scale > 1:
        assert psnr(restored, photo) > psnr(coarse, photo)


def test_fine_reference_at_full_size_is_not_touched_at_all():
    photo = Image.fromarray(data.astronaut())
    bits = 2 * photo.width * photo.height
    for payload in (ExternalCoarse(bytes(16), bits), RefCoarse("jpeg", 1, bytes(bits // 8))):
        assert restore(request(photo, payload)).tobytes() == photo.tobytes()


def test_preview_shows_progress_before_the_end():
    photo = Image.fromarray(data.astronaut())
    restorer = Smooth()
    state = restorer.begin(request(photo, blocks_of(photo, 32, 32)))
    assert state.steps_total >= 4
    first = state.preview()
    restorer.step([state])
    assert first.size == state.preview().size == (512, 512)
    assert psnr(state.preview(), first) > 20
