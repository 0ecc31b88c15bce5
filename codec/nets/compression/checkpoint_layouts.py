"""The layouts that learned codecs are published in, brought to one: names of CompressAI's parameters, without wrapping.

It reads no file and knows no architecture.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from codec.errors import WeightsCorrupt

State = dict[str, Tensor]

_WRAPPINGS = ("network", "state_dict", "model_state_dict")
_DEEPEST_WRAPPING = 3

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


def plain_state(loaded: Mapping[str, object]) -> State:
    """The tensors that a codec consists of, by CompressAI's present names.

    Takes them bare or below `network`, `state_dict` or `model_state_dict`, with or without the `module.` of data
    parallelism, with the names of older versions. Raises WeightsCorrupt when there are none.
    """
    entries: object = loaded
    for _ in range(_DEEPEST_WRAPPING):
        wrapped = [entries[key] for key in _WRAPPINGS if isinstance(entries, Mapping) and key in entries]
        if not wrapped:
            break
        entries = wrapped[0]
    if not isinstance(entries, Mapping):
        raise WeightsCorrupt("The checkpoint holds no named weights.")
    state = {}
    for name, value in entries.items():
        name = _present_name(str(name))
        if isinstance(value, Tensor) and name.partition(".")[0] in PARTS and not _DERIVED.fullmatch(name):
            state[name] = value
    if not state:
        raise WeightsCorrupt(f"The checkpoint has no weights of a learned codec: none begins with {', '.join(PARTS)}.")
    return state


def _present_name(name: str) -> str:
    while name.startswith("module."):
        name = name.removeprefix("module.")
    name = name.replace(".downsample.", ".skip.")
    found = _BOTTLENECK.fullmatch(name)
    return f"entropy_bottleneck.{_BOTTLENECK_NAMES[found[1]]}.{found[2]}" if found else name
