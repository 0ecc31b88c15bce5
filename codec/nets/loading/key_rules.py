"""Rules that carry published checkpoints over into our modules, key by key. Knows no particular network.

Every key of a file must be taken by exactly one rule and every parameter of the module be filled exactly once, so a
file with something missing, added or misplaced is refused by name instead of giving a quietly wrong network.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch

from codec.errors import WeightsCorrupt

Tensors = Mapping[str, torch.Tensor]
Names = dict[str, str]
Transform = Callable[[torch.Tensor], Sequence[torch.Tensor]]

_HOLE = re.compile(r"\{([*#]?)(\w+)\}")
_FORMS = {"": "[^.]+", "*": ".+", "#": "[0-9]{1,3}"}


def keep(tensor: torch.Tensor) -> Sequence[torch.Tensor]:
    """The tensor as it is."""
    return (tensor,)


def as_linear(tensor: torch.Tensor) -> Sequence[torch.Tensor]:
    """A 1x1 convolution's kernel (O, I, 1, 1) as a linear layer's matrix (O, I); other shapes are left as they are."""
    return (tensor.flatten(1) if tensor.shape[2:] == (1, 1) else tensor,)


def thirds(tensor: torch.Tensor) -> Sequence[torch.Tensor]:
    """Query, key and value rows of a packed attention projection, (3 N, ...) as three of (N, ...)."""
    divisible = tensor.ndim > 0 and tensor.shape[0] % 3 == 0
    return tensor.chunk(3) if divisible else ()


@dataclass(frozen=True)
class Rule:
    """Keys that look like `source` fill `targets`, one tensor of `transform` each.

    In `source`, `{p}` stands for one component between dots, `{#n}` for one that is a number, and `{*rest}` for one or
    more. Targets may use these names and those that `place` adds; `place` returns None where the rule does not apply
    after all. A rule without targets takes keys that are known and not needed, and says why in `reason`. `source` is
    the rule's name.
    """

    source: str
    targets: tuple[str, ...] = ()
    transform: Transform = keep
    place: Callable[[Names], Names | None] = field(default=lambda names: {})
    reason: str = ""

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        pieces = _HOLE.split(self.source)
        literals = [re.escape(literal) for literal in pieces[0::3]]
        holes = [f"(?P<{name}>{_FORMS[form]})" for form, name in zip(pieces[1::3], pieces[2::3], strict=True)]
        return re.compile("".join(literal + hole for literal, hole in zip(literals, [*holes, ""], strict=True)))

    def targets_of(self, key: str) -> tuple[str, ...] | None:
        """What `key` fills, in the order of the transformed tensors; None when the rule does not take it."""
        if (match := self._pattern.fullmatch(key)) is None:
            return None
        names = match.groupdict()
        if (placed := self.place(names)) is None:
            return None
        return tuple(target.format_map({**names, **placed}) for target in self.targets)


def move(source: str, target: str, transform: Transform = keep) -> Rule:
    """A rule with one target."""
    return Rule(source, (target,), transform)


def ignore(source: str, reason: str) -> Rule:
    """A rule for keys that are known and not needed."""
    return Rule(source, reason=reason)


def placed(rules: Iterable[Rule], place: Callable[[Names], Names | None]) -> tuple[Rule, ...]:
    """The same rules, whose targets may use the names that `place` works out of theirs."""
    return tuple(replace(rule, place=place) for rule in rules)


def under(source: str, target: str, rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The same rules one level down: `source` before each source, `target` before each target."""
    return tuple(
        replace(rule, source=source + rule.source, targets=tuple(target + name for name in rule.targets))
        for rule in rules
    )


@dataclass(frozen=True)
class Conversion:
    """`tensors` by parameter; `taken`: for each key of the file the rule that took it."""

    tensors: dict[str, torch.Tensor]
    taken: dict[str, Rule]


def convert(rules: Sequence[Rule], tensors: Tensors, wanted: Mapping[str, torch.Size], origin: str) -> Conversion:
    """Carry the tensors of a file over to the parameters `wanted`, a mapping of name to shape.

    Works on meta tensors as on real ones, and copies nothing. `origin` names the file in messages. Raises
    WeightsCorrupt for a key that no rule knows, a wrong shape, and a parameter that is filled twice or not at all.
    """
    filled: dict[str, torch.Tensor] = {}
    taken: dict[str, Rule] = {}
    for key, tensor in tensors.items():
        rule, targets = _taker(rules, key, origin)
        taken[key] = rule
        values = rule.transform(tensor) if targets else ()
        if len(values) != len(targets):
            raise WeightsCorrupt(
                f"{origin}: {key} of shape {tuple(tensor.shape)} is not {len(targets)} tensors in one."
            )
        for target, value in zip(targets, values, strict=True):
            if target not in wanted:
                raise WeightsCorrupt(f"{origin}: the network has no place for {key}.")
            if target in filled:
                raise WeightsCorrupt(f"{origin}: {key} fills {target}, which another key filled before.")
            if value.shape != wanted[target]:
                shape = tuple(wanted[target])
                raise WeightsCorrupt(f"{origin}: {key} has the shape {tuple(tensor.shape)}; {target} takes {shape}.")
            filled[target] = value
    if missing := sorted(wanted.keys() - filled.keys()):
        raise WeightsCorrupt(f"{origin}: nothing fills {len(missing)} parameters, the first of which is {missing[0]}.")
    return Conversion(filled, taken)


def _taker(rules: Sequence[Rule], key: str, origin: str) -> tuple[Rule, tuple[str, ...]]:
    """The one rule that takes `key`. Two would be a mistake in the rules, so that is no WeightsCorrupt."""
    takers = [(rule, targets) for rule in rules if (targets := rule.targets_of(key)) is not None]
    if not takers:
        raise WeightsCorrupt(f"{origin}: the key {key} is not one that this network's checkpoints have.")
    if len(takers) > 1:
        raise ValueError(f"{key} is taken by {' and by '.join(rule.source for rule, _ in takers)}")
    return takers[0]
