"""The networks of the profile lite out of the folder of weights.

Importing it costs nothing; PyTorch comes with the first network.
"""

from typing import TYPE_CHECKING

from codec.errors import WeightsCorrupt
from codec.nets.loading.device_config import DeviceConfig, library_missing, multiplies_bfloat16
from codec.options import Profile
from codec.weights.index import Record
from codec.weights.manifest import Part
from codec.weights.store import WeightsStore

if TYPE_CHECKING:
    from codec.nets.lite.network import LiteRestorer
    from codec.nets.lite.rrdbnet import RRDBNet
    from codec.nets.lite.vocabulary import Vocabulary

ARCHITECTURE = "lite"
"""What files of weights of this network are called in the store."""

STAGE1_ARCHITECTURE = "rrdbnet"
"""The same of stage 1."""

VOCABULARY = "vocabulary"
"""The tensor beside the network's own that lists the tokens which the text encoder knows."""


def find_lite(store: WeightsStore) -> Record:
    """The file of the diffusion restorer of the profile lite: one that was taken in, of several the last by name, else
    the one that comes with the program. Raises WeightsMissing.
    """
    return _find(store, Part.RESTORER, ARCHITECTURE)


def find_stage1(store: WeightsStore) -> Record:
    """The file of stage 1, chosen in the same way. Raises WeightsMissing."""
    return _find(store, Part.STAGE1, STAGE1_ARCHITECTURE)


def _find(store: WeightsStore, part: Part, architecture: str) -> Record:
    here = [
        name
        for name, record in store.records().items()
        if record.part is part and record.architecture == architecture and Profile.LITE in record.profiles
    ]
    chosen = max(here, key=lambda name: (not store.is_shipped(name), name), default=None)
    return store.find(name=chosen, part=part, profile=Profile.LITE)


def load_stage1(store: WeightsStore, record: Record, device_config: DeviceConfig) -> "RRDBNet":
    """Stage 1 on a device, ready to restore; the file is hashed before it is read.

    Raises WeightsMissing, WeightsCorrupt, and FeatureUnavailable where PyTorch or the device is not there.
    """
    try:
        import torch

        from codec.nets.lite.rrdbnet import RRDBNet
        from codec.nets.lite.winograd import WinogradTrunk
        from codec.nets.loading.checkpoint import read_tensors
        from codec.nets.loading.int8 import from_int8
    except ImportError as error:
        raise library_missing(error) from None
    device, dtype = device_config.resolve()
    try:
        network = RRDBNet.filled(from_int8(read_tensors(store.checked(record))))
    except (KeyError, IndexError, RuntimeError) as error:
        raise WeightsCorrupt(f"{record.name} is no stage 1 of lite: {str(error).splitlines()[-1].strip()}") from None
    if device_config.dtype == "auto" and device.type == "cpu" and multiplies_bfloat16(device):
        # Convolutions alone take half the time so, where the processor multiplies bfloat16 itself.
        dtype = torch.bfloat16
    if device.type == "cpu" and dtype == torch.float32:
        # Where they are not halved by bfloat16, the trunk's multiplications are worth saving. Its kernels need not be
        # laid out for convolutions before.
        network.register_module("blocks", WinogradTrunk(network.blocks))
    network.to(device, dtype).to(memory_format=torch.channels_last)
    network.last.float()
    if device_config.is_compiled:
        network.compile(dynamic=True)
    return network


def load_lite(store: WeightsStore, record: Record, device_config: DeviceConfig) -> "tuple[LiteRestorer, Vocabulary]":
    """The networks on a device, ready to restore, and their vocabulary; the file is hashed before it is read.

    Raises WeightsMissing, WeightsCorrupt, and FeatureUnavailable where the libraries or the device are not there.
    """
    try:
        import torch

        from codec.nets.lite.network import LiteRestorer
        from codec.nets.lite.vocabulary import Vocabulary
        from codec.nets.loading.checkpoint import read_tensors
        from codec.nets.loading.int8 import from_int8
    except ImportError as error:
        raise library_missing(error) from None
    device, dtype = device_config.resolve()
    tensors = read_tensors(store.checked(record))
    known = tensors.pop(VOCABULARY, None)
    is_list = known is not None and known.dtype == torch.int32 and known.ndim == 1 and len(known) > 0
    if known is None or not is_list or not (known.diff() > 0).all():
        raise WeightsCorrupt(f"{record.name} is no lite restorer: it has no vocabulary.")
    vocabulary = Vocabulary(known.numpy())
    try:
        network = LiteRestorer.filled(from_int8(tensors), len(vocabulary))
    except (KeyError, RuntimeError) as error:
        raise WeightsCorrupt(f"{record.name} is no lite restorer: {str(error).splitlines()[-1].strip()}") from None
    network.to(device, dtype).to(memory_format=torch.channels_last)
    if device_config.is_compiled:
        for part in (network.unet, network.control):
            part.compile(dynamic=True)
    return network, vocabulary
