"""Peers within a number of bytes: never more, never less than they could, and the same from kept trials."""

import io
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from PIL import Image

from codec.metrics.metric import View
from codec.metrics.peer_formats import PEERS, peers_here
from codec.metrics.peers import PeerSearch
from codec.metrics.registry import Judge, Metrics, load_metrics
from codec.metrics.trials import Trials


def picture(width: int = 120, height: int = 88) -> Image.Image:
    """Waves of several lengths, which cost every codec bits at every scale."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / 3 + y / 11), np.sin(x * y / 400), np.cos(y / 5) * np.sin(x / 17)]
    return Image.fromarray((127 + 100 * np.stack(waves, -1)).astype(np.uint8))


@pytest.fixture(scope="module")
def metrics() -> Metrics:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MISC_SQZ_WEIGHTS", raising=False)
        patch.setattr("codec.metrics.registry.load_perceptual_arrays", lambda file: {})
        return load_metrics()


@pytest.fixture(scope="module")
def judge(metrics: Metrics) -> Judge:
    return metrics.judge(View(picture()))


@pytest.mark.parametrize("codec", PEERS)
def test_best_file_fits_and_more_bytes_are_never_worse(codec: str, judge: Judge) -> None:
    if codec not in peers_here():
        pytest.skip(f"{codec} is not here")
    search = PeerSearch(picture(), codec, judge)
    choices = [search.best_within(limit) for limit in (1200, 2400)]
    assert [len(choice.file) <= limit for choice, limit in zip(choices, (1200, 2400), strict=True)] == [True, True]
    assert all(choice.fits and choice.picture.size == picture().size for choice in choices)
    assert choices[1].loss <= choices[0].loss
    for choice in choices:
        assert judge.loss(choice.picture) == pytest.approx(choice.loss, abs=1e-9)


def test_no_jpeg_of_these_settings_that_fits_is_closer(judge: Judge) -> None:
    limit = 1500
    original = picture()
    least = 1.0
    for scale in (1, 2, 3, 4):
        small = original.resize((-(-original.width // scale), -(-original.height // scale)), Image.Resampling.LANCZOS)
        for quality in range(1, 101):
            for progressive in (False, True):
                out = io.BytesIO()
                words = {"quality": quality, "subsampling": 2, "optimize": True, "progressive": progressive}
                small.save(out, "JPEG", **words)
                if len(out.getvalue()) > limit:
                    continue
                decoded = Image.open(io.BytesIO(out.getvalue()))
                for way in (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS):
                    least = min(least, judge.loss(decoded.resize(original.size, way)))
    found = PeerSearch(original, "jpeg", judge).best_within(limit)
    assert found.loss == pytest.approx(least, abs=0.005)


def test_peer_that_cannot_get_so_small_gives_its_smallest_file_and_says_so(judge: Judge) -> None:
    search = PeerSearch(picture(), "jpeg", judge)
    choice = search.best_within(10)
    assert not choice.fits
    assert choice.scale == 4
    assert choice.quality == 1
    assert 10 < len(choice.file) <= len(search.best_within(2000).file)


def test_payload_without_its_wrapper_is_smaller(judge: Judge) -> None:
    choice = PeerSearch(picture(), "webp", judge).best_within(2000)
    assert choice.bytes_without_wrapper is not None
    assert choice.bytes_without_wrapper < len(choice.file)


@pytest.mark.parametrize("content", [b"{", b"[1]", b"7", b'{"file": "?"}', b'{"file": 7}', b"\xff"])
def test_kept_trial_that_broke_is_made_again(tmp_path: Path, content: bytes) -> None:
    trials = Trials(tmp_path)
    trials.put(("a",), {"file": b"bytes", "quality": 3})
    assert trials.get(("a",)) == {"file": b"bytes", "quality": 3}
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(content)
    assert trials.get(("a",)) is None


def test_kept_trials_give_the_same_choice_without_new_ones(judge: Judge, metrics: Metrics, tmp_path: Path) -> None:
    first = PeerSearch(picture(), "webp", judge, Trials(tmp_path)).best_within(1500)
    kept = {path.name for path in tmp_path.iterdir()}
    assert kept
    again = PeerSearch(picture(), "webp", judge, Trials(tmp_path)).best_within(1500)
    assert {path.name for path in tmp_path.iterdir()} == kept
    assert (again.file, again.loss, again.encode_seconds) == (first.file, first.loss, first.encode_seconds)
    other = picture().rotate(180)
    PeerSearch(other, "webp", metrics.judge(View(other)), Trials(tmp_path)).best_within(1500)
    assert len(list(tmp_path.iterdir())) > len(kept)


def test_broken_kept_trial_is_made_again(judge: Judge, tmp_path: Path) -> None:
    first = PeerSearch(picture(), "jpeg", judge, Trials(tmp_path)).best_within(1500)
    for path in tmp_path.iterdir():
        path.write_bytes(b"{")
    assert PeerSearch(picture(), "jpeg", judge, Trials(tmp_path)).best_within(1500).file == first.file


@pytest.mark.parametrize("codec", PEERS)
def test_single_pixel_is_a_picture(codec: str, metrics: Metrics) -> None:
    if codec not in peers_here():
        pytest.skip(f"{codec} is not here")
    one = Image.new("RGB", (1, 1), (10, 200, 30))
    choice = PeerSearch(one, codec, metrics.judge(View(one))).best_within(70)
    assert choice.picture.size == (1, 1)
