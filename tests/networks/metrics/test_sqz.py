"""sqz-dist against the figures that come with its weights, and what makes it usable as a loss."""

import os
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402

from codec.errors import FeatureUnavailable  # noqa: E402
from codec.metrics.registry import load_metrics  # noqa: E402
from codec.metrics.sqz import MIN_SIDE_PX, SqzDistance, find_weights  # noqa: E402

_SHARED = Path(__file__).parents[4] / "shared"
_WEIGHTS = _SHARED / "metrics" / "squeezenet11_caffe_features_lpips_heads.npz"
_KODAK = _SHARED / "data" / "kodak"

needs_weights = pytest.mark.skipif(not _WEIGHTS.is_file(), reason="the weights of sqz-dist are not part of the project")
needs_kodak = pytest.mark.skipif(not (_KODAK / "kodim01.png").is_file(), reason="the Kodak pictures are not here")

_FIGURES = {
    ("kodim01", "mirror"): (0.55053, (0.08848, 0.02269, 0.06276, 0.18600, 0.10854, 0.03877, 0.04328)),
    ("kodim01", "negative"): (0.41843, (0.14734, 0.01952, 0.04284, 0.10375, 0.05940, 0.01850, 0.02707)),
    ("kodim01", "blocks"): (0.50579, (0.06031, 0.01086, 0.06986, 0.18380, 0.10331, 0.03652, 0.04113)),
    ("kodim23", "mirror"): (0.65597, (0.08677, 0.02753, 0.11232, 0.22559, 0.09859, 0.05358, 0.05159)),
    ("kodim23", "negative"): (0.51799, (0.15476, 0.02846, 0.09880, 0.12024, 0.06018, 0.02366, 0.03190)),
}


def _changed(values: np.ndarray, change: str) -> np.ndarray:
    if change == "mirror":
        return values[:, ::-1]
    if change == "negative":
        return 255 - values
    height, width, _ = values.shape
    means = values.astype(np.float64).reshape(height // 8, 8, width // 8, 8, 3).mean((1, 3))
    return np.repeat(np.repeat(np.rint(means), 8, 0), 8, 1).astype(np.uint8)


def _tensor(values: np.ndarray) -> "torch.Tensor":
    return torch.from_numpy(values.copy()).permute(2, 0, 1)[None].float() / 255


@pytest.fixture(scope="module")
def distance() -> SqzDistance:
    return SqzDistance(_WEIGHTS)


@needs_weights
@needs_kodak
@pytest.mark.parametrize(("name", "change"), _FIGURES)
def test_figures_of_the_weights_description(distance: SqzDistance, name: str, change: str) -> None:
    values = np.asarray(Image.open(_KODAK / f"{name}.png").convert("RGB"))
    total, taps = _FIGURES[name, change]
    with torch.inference_mode():
        left, right = _tensor(values), _tensor(_changed(values, change))
        parts = distance.between(distance.features(left), distance.features(right))
        assert parts[0].tolist() == pytest.approx(taps, abs=1e-4)
        assert float(distance(left, right)) == pytest.approx(total, abs=1e-4)
        assert float(distance(right, left)) == pytest.approx(total, abs=1e-4)
        assert float(distance(left, left)) == 0.0


@needs_weights
def test_batch_equals_its_pictures_one_by_one(distance: SqzDistance) -> None:
    generator = torch.Generator().manual_seed(1)
    left, right = torch.rand(3, 3, 40, 56, generator=generator), torch.rand(3, 3, 40, 56, generator=generator)
    together = distance(left, right)
    alone = torch.cat([distance(left[i : i + 1], right[i : i + 1]) for i in range(3)])
    assert together.shape == (3,)
    assert together.tolist() == pytest.approx(alone.tolist(), abs=1e-5)


@needs_weights
def test_descending_its_gradient_lowers_it_and_weights_stay(distance: SqzDistance) -> None:
    generator = torch.Generator().manual_seed(2)
    target = torch.rand(1, 3, 32, 32, generator=generator)
    # A grey picture has positions without any feature, where a careless norm has no gradient.
    picture = torch.zeros(1, 3, 32, 32, requires_grad=True)
    before = distance(picture, target).sum()
    before.backward()
    assert picture.grad is not None
    assert torch.isfinite(picture.grad).all()
    with torch.no_grad():
        after = distance(picture - 0.05 * picture.grad.sign(), target).sum()
    assert float(after) < float(before.detach())
    assert not any(parameter.requires_grad for parameter in distance.parameters())


@needs_weights
def test_smallest_size_has_a_distance_and_smaller_ones_are_refused(distance: SqzDistance) -> None:
    tiny = torch.zeros(1, 3, MIN_SIDE_PX, MIN_SIDE_PX)
    assert float(distance(tiny, torch.ones_like(tiny))) > 0
    with pytest.raises(ValueError, match="17 pixels"):
        distance(tiny[..., 1:], tiny[..., 1:])
    with pytest.raises(ValueError, match="one size"):
        distance(tiny, torch.zeros(1, 3, 18, 17))


def test_array_of_another_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wrong.npz"
    np.savez(path, **{"conv1/kernel": np.zeros((3, 3, 64, 3), np.float32), "conv1/bias": np.zeros(64, np.float32)})
    with pytest.raises(ValueError, match="conv1"):
        SqzDistance(path)


@pytest.mark.parametrize("fault", ["empty", "cut off", "one array", "no arrays"])
def test_file_that_is_no_weights_is_told_in_a_sentence(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "wrong.npz"
    np.savez(path, **{"conv1/kernel": np.zeros((3, 3, 3, 64), np.float32)})
    whole = path.read_bytes()
    if fault == "one array":
        np.save(tmp_path / "one.npy", np.zeros(3))
        whole = (tmp_path / "one.npy").read_bytes()
    path.write_bytes({"empty": b"", "cut off": whole[: len(whole) // 2]}.get(fault, whole))
    with pytest.raises(FeatureUnavailable, match="does not hold the weights of sqz-dist"):
        load_metrics(path)


@needs_weights
def test_heads_of_another_length_are_refused(tmp_path: Path) -> None:
    with np.load(_WEIGHTS) as arrays:
        changed = dict(arrays) | {"lpips_v0.1_squeeze/lin3": np.ones(1, np.float32)}
    np.savez(tmp_path / "wrong.npz", **changed)
    with pytest.raises(ValueError, match="head 3"):
        SqzDistance(tmp_path / "wrong.npz")


def test_weights_are_only_where_the_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MISC_SQZ_WEIGHTS", raising=False)
    assert find_weights() is None
    monkeypatch.setenv("MISC_SQZ_WEIGHTS", os.fspath(tmp_path / "none.npz"))
    assert find_weights() is None
    (tmp_path / "some.npz").write_bytes(b"")
    monkeypatch.setenv("MISC_SQZ_WEIGHTS", os.fspath(tmp_path / "some.npz"))
    assert find_weights() == tmp_path / "some.npz"
