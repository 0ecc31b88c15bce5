"""Networks whose denoising calls a GPU replays as CUDA graphs, one for each shape: without a launch for each kernel.

A step of few samples takes longer to launch than to compute. Numbers of samples are filled up to a few sizes, so that
few graphs serve all mixes of requests.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch

from codec.decode.diffusion.memory import is_exhaustion
from codec.decode.diffusion.networks import Networks

_SAMPLES = (1, 2, 4, 8, 16, 24, 32)
"""Sizes that samples are filled up to: at most twice the work where calls are short, half more where
they are not."""

_MOST_GRAPHS = 12
"""Kept at a time. Each holds its inputs and outputs; what lies between is memory that all share."""

Tensors = tuple[torch.Tensor, ...]
Call = Callable[[Tensors], torch.Tensor]
Capture = Callable[[Call, Tensors], Callable[[], torch.Tensor]]
"""Turns a call on these very tensors into a replay, which works on what they hold then and returns the same output
tensor each time."""


class GraphedNetworks:
    """`networks`, whose `predict` is replayed from the second call of a shape on.

    The first one is made as it is: it lets libraries choose their kernels, which a graph must not contain. Where memory
    runs out all graphs are given up, and made again later.
    """

    def __init__(self, networks: Networks, capture: Capture | None = None) -> None:
        """`capture`: how a call becomes a replay; CUDA's by default."""
        self._networks = networks
        self._capture = capture or CUDACapture(networks.device)
        self._replays: OrderedDict[object, _Replay] = OrderedDict()
        self._seen: set[object] = set()
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> object:
        return getattr(self._networks, name)

    def predict(
        self,
        noisy: torch.Tensor,
        times: torch.Tensor,
        texts: torch.Tensor,
        condition: torch.Tensor,
        strength: float = 1.0,
        regions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """As the networks' own, of any number of samples."""
        given = (noisy, times, texts, condition) if regions is None else (noisy, times, texts, condition, regions)
        samples = next((each for each in _SAMPLES if each >= len(noisy)), len(noisy))
        key = samples, strength, tuple(each.shape[1:] for each in given)

        def _call(inputs: Tensors) -> torch.Tensor:
            noisy, times, texts, condition, *regions = inputs
            return self._networks.predict(noisy, times, texts, condition, strength, *regions)

        # A graph has one set of inputs, which the next caller would write over.
        with self._lock:
            try:
                if key not in self._seen:
                    output = _call(_filled(given, samples))
                    self._seen.add(key)
                    return output[: len(noisy)]
                return self._replay_of(key, _call, given, samples)(given)
            except Exception as error:
                if is_exhaustion(error):
                    self._replays.clear()
                raise

    def _replay_of(self, key: object, call: Call, given: Tensors, samples: int) -> "_Replay":
        if key not in self._replays:
            inputs = tuple(_own(each, self._networks.device) for each in _filled(given, samples))
            self._replays[key] = _Replay(inputs, self._capture(call, inputs))
            if len(self._replays) > _MOST_GRAPHS:
                self._replays.popitem(last=False)
        self._replays.move_to_end(key)
        return self._replays[key]


class _Replay:
    """A captured call with the tensors that it reads."""

    def __init__(self, inputs: Tensors, replay: Callable[[], torch.Tensor]) -> None:
        self._inputs, self._replay = inputs, replay

    def __call__(self, given: Tensors) -> torch.Tensor:
        """The output for `given`, which are no more samples than were captured. What fills up is what was there."""
        for own, each in zip(self._inputs, given, strict=True):
            own[: len(each)].copy_(each, non_blocking=True)
        # The next replay writes over its output.
        return self._replay()[: len(given[0])].clone()


class CUDACapture:
    """Captures calls on one device. All graphs share their scratch memory, since none runs beside another."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool: Any = None

    def __call__(self, call: Call, inputs: Tensors) -> Callable[[], torch.Tensor]:
        """A graph of `call` on `inputs`."""
        with torch.cuda.device(self._device):
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            aside, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                call(inputs)
            torch.cuda.current_stream().wait_stream(aside)
            # Other threads may go on asking for memory and previews meanwhile.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                output = call(inputs)

        def _replay() -> torch.Tensor:
            graph.replay()
            return output

        return _replay


def _filled(given: Sequence[torch.Tensor], samples: int) -> Tensors:
    """Every tensor with so many samples; what is added repeats the last, so that no value is unusual."""
    missing = samples - len(given[0])
    if not missing:
        return tuple(given)
    return tuple(torch.cat((each, each[-1:].expand(missing, *each.shape[1:]))) for each in given)


def _own(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A copy on the device that can be written over: halves of one request share their memory."""
    return values.to(device).clone(memory_format=torch.contiguous_format)
