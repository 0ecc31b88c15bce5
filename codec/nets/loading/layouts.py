"""Where trainers put the tensors in a checkpoint, and what they put before the names of the network's own.

Reads no file and knows no network.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeGuard, TypeVar

import torch

from codec.errors import WeightsCorrupt

LAYOUTS = (
    "weights", "generator", "netG", "g_ema", "model", "model_ema", "net", "net_state_dict", "params", "ema",
    "ema_state_dict", "params_ema", "network", "state_dict", "model_state_dict",
)  # fmt: skip
"""Keys under which trainers put the tensors. Where a file has several the last one counts, as in the published decoder,
which knows the last three of these."""

_ALWAYS_TENSORS = 3
"""So many of the last layouts mean tensors whenever they hold names; the others may be settings."""

_MOST_LEVELS = 4
"""How deep tensors are looked for under other keys, as `{"checkpoint": {"model": {"state_dict": ...}}}`."""

_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module", "_module"}
"""Parts of names that data parallelism, compilation and trainers put in, in front or in the middle."""

_COUNTS = {"n_averaged", "initted", "step", "steps", "num_updates", "global_step"}
"""What averages of models count beside their tensors."""

_PREFIXES = ("model.", "net.", "network.", "generator.", "netG.")
"""What a trainer's own class most often puts before the names of the network that it holds."""

_AVERAGE = "ema_model."
"""Before the names of an average that lies beside the network it was made of."""

_TRAINING = re.compile(r"optim|sched|scaler|rng|loss|criterion|perceptual|lpips|vgg|disc|netD\b|metric", re.IGNORECASE)
"""Parts of what only training needs: sections of a file, and networks beside the trained one."""

ValueT = TypeVar("ValueT")


def unwrap_state(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The tensors by name out of any layout: under the last of LAYOUTS that is there, bare, or in the only section of
    the file that has some. Raises WeightsCorrupt where several have some and no name says which is meant."""
    for key in reversed(LAYOUTS):
        inner = content.get(key)
        if not _has_names(inner):
            continue
        if key in LAYOUTS[-_ALWAYS_TENSORS:] or _has_tensors(inner):
            return inner if _has_tensors(inner) else _only_section(inner)
    return content if _has_tensors(content) else _only_section(content)


def _only_section(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The mapping with tensors somewhere within; the content itself where there is none."""
    found = dict(_sections(content, "", _MOST_LEVELS))
    if len(found) > 1:
        raise WeightsCorrupt(
            f"The checkpoint has tensors in {len(found)} places, {', '.join(list(found)[:5])}; save the ones that are "
            "meant by themselves."
        )
    return next(iter(found.values()), content)


def _sections(content: Mapping[str, Any], before: str, levels: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, inner in list(content.items())[:100] if levels else ():
        if not _has_names(inner) or _TRAINING.search(key):
            continue
        if _has_tensors(inner):
            yield f"{before}{key}", inner
        else:
            yield from _sections(inner, f"{before}{key}.", levels - 1)


def _has_names(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping) and all(isinstance(name, str) for name in value)


def _has_tensors(value: Mapping[str, Any]) -> bool:
    return any(isinstance(entry, torch.Tensor) for entry in value.values())


def plain_names(tensors: Mapping[str, ValueT]) -> dict[str, ValueT]:
    """The same under the names that the network itself gives: without what data parallelism, compilation and a
    trainer's class put in, without networks that only training needs beside it, and of a network and its average that
    one alone."""
    tensors = {key: value for key, value in tensors.items() if key not in _COUNTS}
    averages = {key: value for key, value in tensors.items() if key.startswith(_AVERAGE)}
    tensors = averages or tensors
    plain = {".".join(part for part in key.split(".") if part not in _WRAPPERS): key for key in tensors}
    if len(plain) < len(tensors):
        return dict(tensors)
    own = {key: original for key, original in plain.items() if not _TRAINING.match(key)}
    if own and _prefix_of(own) is not None:
        plain = own
    while (prefix := _prefix_of(plain)) is not None:
        plain = {key.removeprefix(prefix): original for key, original in plain.items()}
    return {key: tensors[original] for key, original in plain.items()}


def _prefix_of(names: Collection[str]) -> str | None:
    """What a trainer's class puts before all names: their first part, where they share it. One that is not known has to
    hold modules, since it may be the network's only module itself."""
    prefix = next(iter(names), "").partition(".")[0] + "."
    # A text-to-image model has its denoiser under a name that looks like such a part, whatever trained it.
    is_denoiser = any(name.startswith("model.diffusion_model.") for name in names)
    are_alike = len(names) > 1 and all(name.startswith(prefix) for name in names)
    is_class = prefix in _PREFIXES or all("." in name.removeprefix(prefix) for name in names)
    return prefix if are_alike and is_class and not is_denoiser else None
