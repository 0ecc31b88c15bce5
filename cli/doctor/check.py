"""The outcome of one check."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """The outcome of one check; `advice` says what to do when it is not well."""

    name: str
    is_well: bool
    detail: str
    advice: str = ""
    is_essential: bool = True
