"""Real-ESRGAN x4plus as the network that stage 1 of lite begins with. Knows the names of the published file."""

import re
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from codec.nets.lite.rrdbnet import REDUCTION, RRDBNet

_LAYERS = {
    "conv_first": "first", "conv_body": "trunk", "conv_up1": "enlarged.0", "conv_up2": "enlarged.1",
    "conv_hr": "full_size", "conv_last": "last",
}  # fmt: skip
_DENSE = re.compile(r"body\.(\d+)\.rdb(\d)\.conv(\d)")


def network_of_teacher(file: Path) -> RRDBNet:
    """The network that gives what the teacher gives for the coarse picture's means over squares of 4 x 4 pixels.

    What the coarse picture has beyond those has no effect yet: its convolutions are zero.
    """
    tensors = {_own_name(name): value.float() for name, value in load_file(file).items()}
    tensors["first.weight"] = tensors["first.weight"].repeat_interleave(REDUCTION**2, 1) / REDUCTION**2
    network = RRDBNet(1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("blocks.")))
    for convolution in network.beside:
        assert isinstance(convolution, nn.Conv2d) and convolution.bias is not None
        torch.nn.init.zeros_(convolution.weight)
        torch.nn.init.zeros_(convolution.bias)
    missing = network.load_state_dict(tensors, strict=False).missing_keys
    if any(not name.startswith("beside.") for name in missing):
        raise ValueError(f"{file} is not Real-ESRGAN x4plus: it lacks {', '.join(missing)}")
    return network


def _own_name(name: str) -> str:
    layer, leaf = name.rsplit(".", 1)
    if found := _DENSE.fullmatch(layer):
        block, dense, place = (int(each) for each in found.groups())
        inner = "fused" if place == 5 else f"convolutions.{place - 1}"
        return f"blocks.{block}.dense.{dense - 1}.{inner}.{leaf}"
    return f"{_LAYERS[layer]}.{leaf}"


def trunk_above(network: RRDBNet, block: int) -> list[Tensor]:
    """The parameters of the blocks from `block` on, which learn; with `block` above 0 all before them are frozen."""
    for layer in [network.first, *network.blocks[:block]] if block else []:
        layer.requires_grad_(False)
    learning = [*network.blocks[block:], *([] if block else [network.first])]
    return [value for layer in learning for value in layer.parameters()]


def tail_of(network: RRDBNet) -> list[Tensor]:
    """The parameters of all layers behind the blocks."""
    layers = [network.trunk, *network.enlarged, *network.beside, network.full_size, network.last]
    return [value for layer in layers for value in layer.parameters()]
