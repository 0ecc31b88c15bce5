"""LPIPS, DISTS, CLIP-IQA and FID through pyiqa, where it is installed and its weights lie on this machine.

It downloads what it lacks without asking; here it runs behind a wall, so that what is missing is an error instead.
"""

import contextlib
import io
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from codec.metrics.metric import Metric, SetMetric, Undefined, View, require_side

NAMES = {"lpips": True, "dists": True, "clipiqa": False}
"""Name, which is pyiqa's own, and whether less is better."""

FID = "fid"
_NEEDS_ORIGINAL = frozenset({"lpips", "dists"})
_MIN_SIDE_PX = 64
"""Their networks halve a picture five times."""


class DownloadRefused(OSError):
    """Something behind the wall wanted to reach the network."""


_walled = threading.local()
_lock = threading.Lock()
_is_hook_set = False


def _depth() -> int:
    """How many blocks without a network this thread is in."""
    depth: int = getattr(_walled, "depth", 0)
    return depth


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.getaddrinfo") and _depth():
        raise DownloadRefused("its weights are not on this machine, and nothing is downloaded for a comparison")


@contextlib.contextmanager
def without_network() -> Iterator[None]:
    """Inside the block this thread cannot open a connection: DownloadRefused is raised instead."""
    global _is_hook_set
    with _lock:
        if not _is_hook_set:
            # An audit hook sees every connection, whichever library makes it. It stays for the life of the process.
            sys.addaudithook(_refuse)
            _is_hook_set = True
    _walled.depth = _depth() + 1
    try:
        yield
    finally:
        _walled.depth -= 1


class ToolboxMetric:
    """One of pyiqa's metrics."""

    def __init__(self, name: str, compute: Callable[..., Any]) -> None:
        self._name, self._compute = name, compute

    @property
    def name(self) -> str:
        """pyiqa's own name."""
        return self._name

    @property
    def is_distance(self) -> bool:
        """True when less is better."""
        return NAMES[self._name]

    def score(self, original: View, candidate: View) -> float:
        """Undefined below 64 pixels a side."""
        require_side(original, _MIN_SIDE_PX)
        tensors = [candidate.tensor, original.tensor] if self._name in _NEEDS_ORIGINAL else [candidate.tensor]
        with without_network():
            return float(self._compute(*tensors))


class ToolboxFID:
    """Fréchet inception distance between originals and candidates (Heusel et al., arXiv 1706.08500)."""

    name = FID

    def __init__(self, compute: Callable[..., Any]) -> None:
        self._compute = compute

    def over(self, originals: str, candidates: str) -> float:
        """Undefined where the covariance cannot be estimated. Few pictures make it large and uncertain."""
        try:
            with without_network(), contextlib.redirect_stdout(io.StringIO()):
                return float(self._compute(originals, candidates))
        except (ValueError, RuntimeError) as error:
            raise Undefined(str(error)) from None


def toolbox_metrics() -> tuple[list[Metric], list[SetMetric], dict[str, str]]:
    """What can be computed here, and the reason for each metric that cannot."""
    wanted = (*NAMES, FID)
    try:
        with without_network():
            import pyiqa
    except ImportError:
        return [], [], dict.fromkeys(wanted, "pyiqa is not installed")
    except DownloadRefused as error:
        return [], [], dict.fromkeys(wanted, str(error))
    metrics: list[Metric] = []
    sets: list[SetMetric] = []
    left_out: dict[str, str] = {}
    for name in wanted:
        compute = _created(pyiqa.create_metric, name)
        if isinstance(compute, str):
            left_out[name] = compute
        elif name == FID:
            sets.append(ToolboxFID(compute))
        else:
            metrics.append(ToolboxMetric(name, compute))
    return metrics, sets, left_out


def _created(create: Callable[..., Any], name: str) -> Callable[..., Any] | str:
    """The metric, or why there is none."""
    try:
        # It prints what it loads to the standard output, which may carry a document.
        with without_network(), contextlib.redirect_stdout(io.StringIO()):
            made: Callable[..., Any] = create(name, device="cpu")
            return made
    except Exception as error:  # noqa: BLE001 - whatever a foreign package fails with, the others still count
        if _is_refusal(error):
            return "its weights are not on this machine, and nothing is downloaded for a comparison"
        return f"pyiqa cannot make it here ({type(error).__name__}: {error})"


def _is_refusal(error: BaseException | None) -> bool:
    """True when a download that was refused is behind the error, however libraries wrapped it."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        if isinstance(error, DownloadRefused) or isinstance(getattr(error, "reason", None), DownloadRefused):
            return True
        seen.append(error)
        error = error.__cause__ or error.__context__
    return False
