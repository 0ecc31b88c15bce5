"""From a `.misc` file to a picture in three parts: prepare the request, drive its steps, finish.

`decode` drives one request alone, unless it is handed something that drives many together: `codec.decode.engine`.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
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
from codec.options import DecodeOptions, Profile, RestorerName
from codec.picture.save import Provenance
from codec.seed import seed_of

OnProgress = Callable[[str, float], None]
"""Called with the stage ("coarse", "restore", "done") and the progress of the whole decode in [0, 1]."""

OnStep = Callable[[RestoreState], None]
"""Called after each step of the restorer with the request's state, which knows its steps and can give a preview."""

Drive = Callable[["PreparedDecode", Callable[[], None], Callable[[], bool]], None]
"""Takes all steps of a prepared request. Calls the second argument after steps, raises Cancelled soon after the third
returns True, and the state's failure."""

_RESTORE_START = 0.1

__all__ = ["Decoded", "PreparedDecode", "decode", "finish", "prepare", "rebuild_coarse", "seed_from", "settings_of"]


@dataclass(frozen=True)
class Decoded:
    """A reconstruction: an RGB picture of the stream's size, and all that made it.

    `generative` says that the restorer may have invented detail. `settings` are the options that had a part in it, in
    words. `seconds` has coarse, restore and total, and `restore_` with each stage that the restorer has timed.
    """

    picture: Image.Image
    stream: Stream
    stream_sha256: str
    schedule: str
    seed: int
    restorer: str
    generative: bool
    settings: str = ""
    weights: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each network that had a part in it; of the coarse network the beginning, as the stream names it."""
    seconds: dict[str, float] = field(default_factory=dict)

    def provenance(self, software: str = "misc-archive") -> Provenance:
        """The mark that a file of this picture carries; `software` names who writes it."""
        return Provenance(
            restorer=self.restorer,
            stream_sha256=self.stream_sha256,
            seed=self.seed,
            generative=self.generative,
            software=software,
            settings=self.settings,
            weights=self.weights,
        )


@dataclass(frozen=True)
class PreparedDecode:
    """A request between `prepare` and `finish`: what its picture will be labelled with, and the state to be stepped.

    `restorer` began `state`, and only it may advance it. `begun` and `coarse_done` are `time.perf_counter` readings.
    """

    stream: Stream
    stream_sha256: str
    options: DecodeOptions
    seed: int
    restorer: Restorer
    state: RestoreState
    begun: float
    coarse_done: float

    @property
    def progress(self) -> float:
        """Progress of the whole decode in [0, 1]; may fall when the restorer goes on in smaller steps."""
        return _RESTORE_START + (1 - _RESTORE_START) * self.state.steps_done / (self.state.steps_total + 1)


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
    drive: Drive | None = None,
) -> Decoded:
    """Decode a `.misc` file. The same file and options give the same picture on one machine.

    `drive` takes the steps; without it they are taken here, one after the other. Raises what `prepare` and `finish`
    raise; `cancelled` is asked between stages and before each step, and Cancelled is raised on True.
    """
    report = on_progress or (lambda stage, progress: None)
    is_cancelled = cancelled or (lambda: False)
    _check(is_cancelled)
    report("coarse", 0.0)
    prepared = prepare(data, options, reference=reference, restorer=restorer, find_network=find_network)
    _check(is_cancelled)
    progress = _RESTORE_START
    report("restore", progress)

    def _after_step() -> None:
        nonlocal progress
        if on_step is not None:
            on_step(prepared.state)
        progress = max(progress, prepared.progress)
        report("restore", progress)

    (drive or step_alone)(prepared, _after_step, is_cancelled)
    decoded = finish(prepared)
    report("done", 1.0)
    return decoded


def prepare(
    data: bytes,
    options: DecodeOptions,
    *,
    reference: bytes | None = None,
    restorer: Restorer | None = None,
    find_network: FindNetwork | None = None,
) -> PreparedDecode:
    """Unpack a `.misc` file, rebuild its coarse picture and begin its restoration, without taking a step.

    `reference` is the picture beside an external stream; `restorer` replaces the one that `options` name, for a
    caller that keeps one loaded; `find_network` fetches the learned codec that a stream of mode net names. Raises
    StreamError, ReferenceMissing, WeightsError, OptionError, OutOfMemory, FeatureUnavailable.
    """
    begun = time.perf_counter()
    restorer = restorer or get_restorer(options.restorer_name)
    stream = unpack(data).stream
    seed = options.seed if options.seed is not None else seed_from(data)
    coarse = np.asarray(rebuild_coarse(stream, reference=reference, find_network=find_network))
    coarse_done = time.perf_counter()
    maps = map_arrays(stream.maps)
    request = RestoreRequest(coarse, stream.texts, maps, options, seed, stream.coarse, stream.grain)
    return PreparedDecode(
        stream=stream,
        stream_sha256=hashlib.sha256(data).hexdigest(),
        options=options,
        seed=seed,
        restorer=restorer,
        state=restorer.begin(request),
        begun=begun,
        coarse_done=coarse_done,
    )


def step_alone(prepared: PreparedDecode, after_step: Callable[[], None], is_cancelled: Callable[[], bool]) -> None:
    """Take all steps of a request by itself, in this thread: a `Drive`."""
    state = prepared.state
    while not state.is_done:
        _check(is_cancelled)
        prepared.restorer.step([state])
        if state.failure is not None:
            raise state.failure
        after_step()


def finish(prepared: PreparedDecode) -> Decoded:
    """The picture of a request whose steps are taken, with its provenance; raises the failure of its state."""
    restorer, state = prepared.restorer, prepared.state
    picture = restorer.finish(state)
    ended = time.perf_counter()
    stages = {f"restore_{stage}": seconds for stage, seconds in state.seconds.items()}
    return Decoded(
        picture=picture,
        stream=prepared.stream,
        stream_sha256=prepared.stream_sha256,
        schedule=prepared.options.schedule.value,
        seed=prepared.seed,
        restorer=restorer.name,
        generative=restorer.generative,
        settings=settings_of(prepared.options),
        weights=weights_with(restorer.weights, prepared.stream),
        seconds={
            "coarse": prepared.coarse_done - prepared.begun,
            "restore": ended - prepared.coarse_done,
            "total": ended - prepared.begun,
            **stages,
        },
    )


def weights_with(restorer_weights: Mapping[str, str], stream: Stream) -> dict[str, str]:
    """The networks of a restorer, and the coarse network that the stream names."""
    coarse = {} if stream.coarse_network is None else {"coarse": stream.coarse_network.hex()}
    return {**restorer_weights, **coarse}


def seed_from(data: bytes) -> int:
    """The seed of a file's noise, in [0, 2**63)."""
    return seed_of(hashlib.sha256(data).hexdigest())


def settings_of(options: DecodeOptions) -> str:
    """All options that change the picture of a restorer with networks, seed apart, in words; "" for other restorers.

    Two decodes of one file with the same words, seed and weights give the same picture.
    """
    if options.restorer_name not in NEEDS_NETWORKS:
        return ""
    if options.restorer_name is RestorerName.GAN:
        # It has one network, whatever the profile, and no options.
        return f"profile {Profile.LITE}"
    values = {name: value for name, value in options.choices().items() if name not in ("restorer", "seed")}
    return ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)


def _check(is_cancelled: Callable[[], bool]) -> None:
    if is_cancelled():
        raise Cancelled("The decode was stopped because the caller asked for it.")
