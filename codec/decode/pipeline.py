"""From a `.misc` file to a picture: unpack, rebuild the coarse picture, restore step by step."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from codec.bitstream.container import unpack
from codec.bitstream.stream import Stream
from codec.decode.coarse import rebuild_coarse
from codec.decode.maps import map_arrays
from codec.decode.restore import NEEDS_NETWORKS, Restorer, RestoreRequest, RestoreState, get_restorer
from codec.errors import Cancelled
from codec.nets.interface import FindNetwork
from codec.options import DecodeOptions

OnProgress = Callable[[str, float], None]
"""Called with the stage ("coarse", "restore", "done") and the progress of the whole decode in [0, 1]."""

OnStep = Callable[[RestoreState], None]
"""Called after each step of the restorer with the request's state, which knows its steps and can give a preview."""

_RESTORE_START = 0.1

__all__ = ["Decoded", "decode", "rebuild_coarse", "seed_from", "settings_of"]


@dataclass(frozen=True)
class Decoded:
    """A reconstruction: an RGB picture of the stream's size, and all that made it.

    `generative` says that the restorer may have invented detail. `settings` are the options that had a part in it, in
    words. `seconds` has coarse, restore and total, and `restore_` with each stage that the restorer tells of.
    """

    picture: Image.Image
    stream: Stream
    stream_sha256: str
    schedule: str
    seed: int
    restorer: str
    generative: bool
    settings: str = ""
    seconds: dict[str, float] = field(default_factory=dict)


def decode(
    data: bytes,
    options: DecodeOptions,
    *,
    reference: bytes | None = None,
    restorer: Restorer | None = None,
    find_network: FindNetwork | None = None,
    on_progress: OnProgress | None = None,
    on_step: OnStep | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Decoded:
    """Decode a `.misc` file. The same file and options give the same picture on one machine.

    `reference` is the picture beside an external stream; `restorer` replaces the one that `options` name, for a
    caller that keeps one loaded; `find_network` fetches the learned codec that a stream of mode net names. Raises
    StreamError, ReferenceMissing, WeightsError, OptionError, FeatureUnavailable; `cancelled` is asked between stages
    and before each step, and Cancelled is raised on True.
    """
    report = on_progress or (lambda stage, progress: None)
    is_cancelled = cancelled or (lambda: False)
    begun = time.perf_counter()
    restorer = restorer or get_restorer(options.painter)
    _check(is_cancelled)
    report("coarse", 0.0)
    stream = unpack(data).stream
    seed = options.seed if options.seed is not None else seed_from(data)
    coarse = rebuild_coarse(stream, reference=reference, find_network=find_network)
    coarse_done = time.perf_counter()
    request = RestoreRequest(np.asarray(coarse), stream.texts, map_arrays(stream.maps), options, seed, stream.coarse)
    del coarse
    picture, stages = _restore(restorer, request, report, on_step or (lambda state: None), is_cancelled)
    ended = time.perf_counter()
    report("done", 1.0)
    return Decoded(
        picture=picture,
        stream=stream,
        stream_sha256=hashlib.sha256(data).hexdigest(),
        schedule=options.schedule.value,
        seed=seed,
        restorer=restorer.name,
        generative=restorer.generative,
        settings=settings_of(options),
        seconds={"coarse": coarse_done - begun, "restore": ended - coarse_done, "total": ended - begun}
        | {f"restore_{stage}": seconds for stage, seconds in stages.items()},
    )


def seed_from(data: bytes) -> int:
    """The seed of a stream's noise, in [0, 2**63): the first 63 bits of the file's SHA-256."""
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big") >> 1


def settings_of(options: DecodeOptions) -> str:
    """All options that change what a restorer with networks paints, seed apart, in words; "" for other restorers.

    Two decodes of one file with the same words, seed and weights give the same picture.
    """
    if options.painter not in NEEDS_NETWORKS:
        return ""
    values = options.model_dump(mode="json", exclude={"restorer", "seed"}, exclude_none=True)
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _restore(
    restorer: Restorer,
    request: RestoreRequest,
    report: OnProgress,
    on_step: OnStep,
    is_cancelled: Callable[[], bool],
) -> tuple[Image.Image, dict[str, float]]:
    """The picture, and the seconds of each of the restorer's stages."""
    _check(is_cancelled)
    share = _RESTORE_START
    report("restore", share)
    state = restorer.begin(request)
    while state.steps_done < state.steps_total:
        _check(is_cancelled)
        restorer.step([state])
        on_step(state)
        # A restorer that runs out of memory goes on in smaller and therefore more steps.
        share = max(share, _RESTORE_START + (1 - _RESTORE_START) * state.steps_done / (state.steps_total + 1))
        report("restore", share)
    picture = restorer.finish(state)
    return picture, {str(stage): seconds for stage, seconds in state.seconds.items()}


def _check(is_cancelled: Callable[[], bool]) -> None:
    if is_cancelled():
        raise Cancelled("The decode was stopped because the caller asked for it.")
