"""DiffBIR out of the folder of weights: which files make a set, and how they come onto a device.

Importing it costs nothing; PyTorch and diffusers are imported with the first network.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codec.errors import FeatureUnavailable, WeightsMissing
from codec.nets.diffbir.config import Prediction
from codec.nets.loading.device_config import DeviceConfig, library_missing
from codec.options import Profile
from codec.weights.content import is_readable
from codec.weights.index import Record
from codec.weights.manifest import Part
from codec.weights.store import WeightsStore

if TYPE_CHECKING:
    from codec.nets.diffbir.network import DiffBIR


@dataclass(frozen=True)
class _Kind:
    """What an architecture of control networks goes with. `base` and `stage1` are published names to recommend;
    `stage1_architectures`: first stages that it can have, the one that it was published with first."""

    base_architecture: str
    base: str
    stage1: str
    stage1_architectures: tuple[str, ...]
    prediction: Prediction = Prediction.EPS
    zero_terminal_snr: bool = False


_KINDS = {
    "diffbir-v2.1": _Kind(
        "sd21-zsnr",
        "sd21-base-zsnr",
        "diffbir-v2.1-swinir",
        ("swinir-realesrgan", "swinir", "bsrnet", "scunet"),
        Prediction.V,
        zero_terminal_snr=True,
    ),
    "diffbir-v2": _Kind("sd21", "sd21-base", "bsrnet", ("bsrnet", "scunet", "swinir", "swinir-realesrgan")),
    "diffbir-v1": _Kind("sd21", "sd21-base", "diffbir-v1-general-swinir", ("swinir", "swinir-realesrgan")),
}
"""By architecture of the control network or of the single file; the newest, which restore best, come first."""


@dataclass(frozen=True)
class NetworkFiles:
    """One complete set: a single file, or base, control network and first stage."""

    architecture: str
    whole: Record | None = None
    base: Record | None = None
    control: Record | None = None
    stage1: Record | None = None

    @property
    def files(self) -> tuple[Record, ...]:
        """The files that make the set."""
        return tuple(each for each in (self.whole, self.base, self.control, self.stage1) if each is not None)

    @property
    def names(self) -> tuple[str, ...]:
        """What chooses this set: its architecture, the name of the file that gives it its character, and either with
        the first stage's name behind a plus sign."""
        chosen = self.whole or self.control
        names = (self.architecture,) if chosen is None else (self.architecture, chosen.name)
        return names if self.stage1 is None else (*names, *(f"{name}+{self.stage1.name}" for name in names))

    @property
    def weights(self) -> dict[str, str]:
        """SHA-256 of each file, by its part."""
        return {each.part.value: each.sha256 for each in self.files}


def find_files(store: WeightsStore, profile: Profile, name: str | None = None) -> NetworkFiles:
    """The files that restore for a profile: of the complete sets that are here, the newest whose files are whole.

    `name` chooses one by its architecture ("diffbir-v1") or by the name of its single file or control network. Raises
    WeightsMissing, which names a file that would help, its digest and the command that fetches it, and
    FeatureUnavailable when what is here is of an architecture that is not known.
    """
    here = [each for each in store.records().values() if profile in each.profiles and store.file_of(each).is_file()]
    # Of two forms of one network safetensors come first, which hold tensors and nothing else.
    here.sort(key=lambda record: not record.file.endswith(".safetensors"))
    sets = [found for found in _complete(here) if name is None or name in found.names]
    if sets:
        # One whose file is cut off would fail with every picture although another set is there.
        return next((found for found in sets if all(is_readable(store.file_of(each)) for each in found.files)), sets[0])
    if name is not None:
        known = sorted({word for found in _complete(here) for word in found.names})
        raise WeightsMissing(
            f"There is no complete set of networks {name!r} here"
            + (f"; those that are: {', '.join(known)}." if known else ". `misc weights list` shows what is here.")
        )
    for record in here:
        if record.part is Part.CONTROL and record.architecture in _KINDS:
            # Somebody chose the parts, so the part that is missing helps more than the single file.
            kind = _KINDS[record.architecture]
            if not any(each.part is Part.SWINIR and each.architecture in kind.stage1_architectures for each in here):
                store.find(name=kind.stage1)
            store.find(name=kind.base)
    record = store.find(part=Part.RESTORER, profile=profile)
    raise FeatureUnavailable(
        f"{record.name} has the architecture {record.architecture}; those known here are {', '.join(_KINDS)}."
    )


def _complete(here: list[Record]) -> Iterator[NetworkFiles]:
    def of(part: Part, architecture: str) -> list[Record]:
        return [each for each in here if each.part is part and each.architecture == architecture]

    for architecture, kind in _KINDS.items():
        for whole in of(Part.RESTORER, architecture):
            yield NetworkFiles(architecture, whole=whole)
        for control in of(Part.CONTROL, architecture):
            for base in of(Part.BASE, kind.base_architecture):
                for stage1 in (found for name in kind.stage1_architectures for found in of(Part.SWINIR, name)):
                    yield NetworkFiles(architecture, base=base, control=control, stage1=stage1)


def load_diffbir(store: WeightsStore, files: NetworkFiles, device_config: DeviceConfig) -> "DiffBIR":
    """The networks of a set on a device, ready to restore; each file is hashed before it is read.

    With weights in bfloat16 PyTorch still sums inside norms, softmax and attention in float32. Raises WeightsMissing,
    WeightsCorrupt, and FeatureUnavailable where the libraries or the device are not there.
    """
    try:
        import torch

        from codec.nets.diffbir import checkpoints
        from codec.nets.diffbir.dimensions import dimensions_of
        from codec.nets.loading.checkpoint import read_tensors
    except ImportError as error:
        raise library_missing(error) from None
    device, dtype = device_config.resolve()
    tensors = {
        record.part: read_tensors(store.checked(record))
        for record in (files.whole, files.base, files.control, files.stage1)
        if record is not None
    }
    kind = _KINDS[files.architecture]
    base = tensors[Part.RESTORER if files.whole else Part.BASE]
    first_stage = tensors.get(Part.SWINIR) or {
        key.removeprefix(checkpoints.FIRST_STAGE): tensor
        for key, tensor in base.items()
        if key.startswith(checkpoints.FIRST_STAGE)
    }
    named = files.whole or files.base
    assert named is not None
    config = dimensions_of(
        base, first_stage, named.name, prediction=kind.prediction, zero_terminal_snr=kind.zero_terminal_snr
    )
    if files.whole is not None:
        sources = [checkpoints.whole(base, config, files.whole.name)]
    else:
        assert files.control is not None and files.stage1 is not None
        sources = [
            checkpoints.base_file(base, config, named.name),
            checkpoints.control_file(tensors[Part.CONTROL], config, files.control.name),
            checkpoints.stage1_file(first_stage, config, files.stage1.name),
        ]
    network = checkpoints.assemble(sources, config, dtype, device)
    if device.type == "cuda":
        # Convolutions on tensor cores want the channels last; on a CPU it makes no difference worth a copy.
        network.to(memory_format=torch.channels_last)
    if device_config.is_compiled:
        for part in (network.unet, network.control):
            part.compile(dynamic=True)
    return network
