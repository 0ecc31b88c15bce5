"""How threads of PyTorch wait for each other on a processor. Needs no PyTorch; counts only before its import."""

import os

_SPINS = "1000"
"""Of libgomp, which by itself goes round 300,000 times before a thread sleeps. Where other processes have the
processor too, a thread that spins keeps it from the very thread that it waits for."""


def sleep_soon() -> None:
    """Have threads of this process that wait for others sleep soon; who sets OpenMP's own variables is obeyed."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
