"""The weights of a learned codec by CompressAI's present names, out of checkpoints of any age and layout.

It reads no file and knows no architecture.
"""

import re
from collections.abc import Mapping
from typing import Any

from compressai.models.utils import remap_old_keys
from compressai.zoo.pretrained import load_pretrained
from torch import Tensor

from codec.errors import WeightsCorrupt
from codec.nets.loading.layouts import plain_names, unwrap_state

State = dict[str, Tensor]

_MOST_WEIGHTS = 1 << 27
"""Half a gigabyte as float32, several times the largest published codec; a view may claim any number."""

PARTS = ("g_a", "g_s", "h_a", "h_s", "context_prediction", "entropy_parameters", "entropy_bottleneck")
"""What a learned codec consists of; whatever else a checkpoint holds was of use in training only."""

_DERIVED = re.compile(
    r".*\.(beta_reparam|gamma_reparam|likelihood_lower_bound)\..*"
    r"|context_prediction\.mask"
    r"|entropy_bottleneck\.(_offset|_quantized_cdf|_cdf_length|target)"
)
"""Buffers that follow from the parameters. Probability tables among them are made anew, never taken from a file."""


def plain_state(loaded: Mapping[str, Any]) -> State:
    """The tensors that a codec consists of, by CompressAI's present names.

    Takes them in any of the published layouts, with or without what trainers put before names, with the names of older
    versions. Raises WeightsCorrupt when there are none, or more than any codec has.
    """
    tensors = {name: value for name, value in unwrap_state(loaded).items() if isinstance(value, Tensor)}
    named = load_pretrained(plain_names(tensors))
    parts = {name: value for name, value in named.items() if "." in name and name.partition(".")[0] in PARTS}
    renamed = remap_old_keys("entropy_bottleneck", parts)
    state = {name: _computable(value.detach()) for name, value in renamed.items() if not _DERIVED.fullmatch(name)}
    if not state:
        raise WeightsCorrupt(f"The checkpoint has no weights of a learned codec: none begins with {', '.join(PARTS)}.")
    if sum(value.numel() for value in state.values()) > _MOST_WEIGHTS:
        raise WeightsCorrupt(f"The checkpoint claims more than {_MOST_WEIGHTS} weights.")
    return state


def _computable(value: Tensor) -> Tensor:
    """The tensor; floating point numbers of eight bits, which PyTorch stores and does not compute with, as float32."""
    return value.float() if value.is_floating_point() and value.element_size() == 1 else value
