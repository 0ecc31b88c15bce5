"""Names of a learned codec's weights as CompressAI has them now, out of checkpoints of any age and layout.

It reads no file and knows no architecture.
"""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from codec.errors import WeightsCorrupt
from codec.nets.loading.checkpoint import unwrap_state

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

_BOTTLENECK = re.compile(r"entropy_bottleneck\._?(matri|bias|factor)(?:x|ces|es|s|)\.?([0-9])")
_BOTTLENECK_NAMES = {"matri": "matrices", "bias": "biases", "factor": "factors"}


def plain_state(loaded: Mapping[str, Any]) -> State:
    """The tensors that a codec consists of, by CompressAI's present names.

    Takes them in any of the published layouts, with or without the `module.` of data parallelism, with the names of
    older versions. Raises WeightsCorrupt when there are none, or more than any codec has.
    """
    state = {}
    for name, value in unwrap_state(loaded).items():
        name = _present_name(name)
        if isinstance(value, Tensor) and name.partition(".")[0] in PARTS and not _DERIVED.fullmatch(name):
            state[name] = value.detach()
    if not state:
        raise WeightsCorrupt(f"The checkpoint has no weights of a learned codec: none begins with {', '.join(PARTS)}.")
    if sum(value.numel() for value in state.values()) > _MOST_WEIGHTS:
        raise WeightsCorrupt(f"The checkpoint claims more than {_MOST_WEIGHTS} weights.")
    return state


def _present_name(name: str) -> str:
    while name.startswith("module."):
        name = name.removeprefix("module.")
    name = name.replace(".downsample.", ".skip.")
    found = _BOTTLENECK.fullmatch(name)
    return f"entropy_bottleneck.{_BOTTLENECK_NAMES[found[1]]}.{found[2]}" if found else name
