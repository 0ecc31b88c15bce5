"""What of PyTorch a process can do without that only runs a network. Needs no PyTorch; counts before its import."""

import importlib.metadata
import sys
from types import ModuleType

_TRACING = "torch._meta_registrations"
"""Shapes that operations would give, for what compiles or exports networks: a third of the import's time, and neither
loading a network nor running it asks for them."""

_KNOWN = ("2.14.",)
"""Versions of PyTorch of which it was tried."""


def leave_out_tracing() -> None:
    """Have PyTorch imported without what traces networks, where its version is known; nothing else of it may be used
    in this process that compiles or exports."""
    if "torch" in sys.modules:
        return
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return  # told where networks are loaded
    if version.startswith(_KNOWN):
        sys.modules.setdefault(_TRACING, ModuleType(_TRACING))
