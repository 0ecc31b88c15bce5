"""From stream to picture: the same bytes give the same picture, steps can be watched and stopped."""

import hashlib
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from codec.bitstream import Maps, PixelCoarse, Stream, Texts
from codec.bitstream.container import pack
from codec.decode.pipeline import decode, finish, prepare, seed_from, settings_of
from codec.decode.restore import RestoreRequest, get_restorer
from codec.errors import Cancelled, FeatureUnavailable, OptionError, StreamError
from codec.options import DecodeOptions, Profile, RestorerName, parse_options

STREAM = Stream(
    50,
    30,
    PixelCoarse(5, 3, 3, bytes(range(15)) * 3),
    Texts(("a", "b"), "All of it."),
    Maps(8, (bytes([1]) * 64, bytes(64))),
)
DATA = pack(STREAM).data


class _Noise:
    """The coarse picture with a little noise from the request's seed, in three steps."""

    name = "noise"
    generative = True
    weights: ClassVar[dict[str, str]] = {"restorer": "ab" * 32}

    class State:
        def __init__(self, request: RestoreRequest) -> None:
            self.request = request
            self.generator = np.random.default_rng(request.seed)
            self.sum = request.coarse.astype(np.int32)
            self.steps_done, self.steps_total = 0, 3
            self.seconds = {"shake": 0.0}
            self.failure: Exception | None = None

        @property
        def is_done(self) -> bool:
            return self.steps_done == self.steps_total

        def preview(self) -> Image.Image:
            return Image.fromarray(np.clip(self.sum, 0, 255).astype(np.uint8))

    def __init__(self) -> None:
        self.requests: list[RestoreRequest] = []

    def begin(self, request: RestoreRequest) -> State:
        self.requests.append(request)
        return self.State(request)

    def step(self, states: Sequence[State]) -> None:
        for state in states:
            state.seconds["shake"] += 0.25
            state.sum += state.generator.integers(-3, 4, state.sum.shape)
            state.steps_done += 1

    def finish(self, state: State) -> Image.Image:
        return state.preview()


def test_same_stream_gives_the_same_picture_and_another_seed_another() -> None:
    first, second = (decode(DATA, DecodeOptions(), restorer=_Noise()) for _ in range(2))
    other = decode(DATA, DecodeOptions(seed=5), restorer=_Noise())
    assert first.picture.tobytes() == second.picture.tobytes() != other.picture.tobytes()
    assert first.seed == second.seed == seed_from(DATA) and other.seed == 5
    assert first.picture.size == (50, 30)


def test_seed_is_the_first_63_bits_of_the_digest() -> None:
    assert seed_from(DATA) == int(hashlib.sha256(DATA).hexdigest()[:16], 16) // 2
    assert 0 <= seed_from(b"") < 2**63


def test_restorer_gets_everything_the_stream_holds() -> None:
    restorer = _Noise()
    decoded = decode(DATA, DecodeOptions(), restorer=restorer)
    (request,) = restorer.requests
    assert request.coarse.shape == (30, 50, 3) and request.coarse.dtype == np.uint8
    assert request.texts == STREAM.texts
    assert [int(values.sum()) for values in request.maps] == [64, 0]
    assert request.coarse_payload == STREAM.coarse
    assert (decoded.restorer, decoded.generative, decoded.schedule) == ("noise", True, "fast")
    assert decoded.stream_sha256 == hashlib.sha256(DATA).hexdigest()


def test_progress_rises_and_timings_add_up() -> None:
    seen: list[tuple[str, float]] = []
    decoded = decode(DATA, DecodeOptions(), restorer=_Noise(), on_progress=lambda *report: seen.append(report))
    assert [stage for stage, _ in seen] == ["coarse"] + ["restore"] * 4 + ["done"]
    shares = [share for _, share in seen]
    assert shares == sorted(shares) and shares[0] == 0.0 and shares[-1] == 1.0
    assert decoded.seconds["coarse"] + decoded.seconds["restore"] == pytest.approx(decoded.seconds["total"])


def test_cancelling_stops_between_two_steps() -> None:
    seen: list[float] = []
    with pytest.raises(Cancelled):
        decode(
            DATA,
            DecodeOptions(),
            restorer=_Noise(),
            on_progress=lambda stage, share: seen.append(share),
            cancelled=lambda: len(seen) >= 3,
        )
    assert len(seen) == 3


def test_steps_may_be_driven_by_somebody_else_between_prepare_and_finish() -> None:
    alone = decode(DATA, DecodeOptions(), restorer=_Noise())
    restorer = _Noise()
    prepared = [prepare(DATA, DecodeOptions(seed=seed), restorer=restorer) for seed in (None, 5)]
    assert [each.progress for each in prepared] == [0.1, 0.1]
    while not all(each.state.is_done for each in prepared):
        restorer.step([each.state for each in prepared])
    driven, other = (finish(each) for each in prepared)
    assert driven.picture.tobytes() == alone.picture.tobytes() != other.picture.tobytes()
    assert (driven.seed, driven.stream_sha256, driven.restorer) == (alone.seed, alone.stream_sha256, "noise")
    assert other.seed == 5 and set(driven.seconds) == set(alone.seconds)


def test_each_step_can_be_looked_at() -> None:
    looks: list[tuple[int, int, bytes]] = []
    decoded = decode(
        DATA,
        DecodeOptions(),
        restorer=_Noise(),
        on_step=lambda state: looks.append((state.steps_done, state.steps_total, state.preview().tobytes())),
    )
    assert [(done, total) for done, total, _ in looks] == [(1, 3), (2, 3), (3, 3)]
    assert looks[-1][2] == decoded.picture.tobytes() != looks[0][2]
    assert decoded.seconds["restore_shake"] == 0.75


def test_profile_names_the_restorer_unless_the_caller_does() -> None:
    names = [
        DecodeOptions().restorer_name,
        DecodeOptions(profile=Profile.SD21).restorer_name,
        DecodeOptions(profile=Profile.SD21, restorer=RestorerName.SMOOTH).restorer_name,
        DecodeOptions(restorer=RestorerName.DIFFUSION).restorer_name,
    ]
    assert names == ["gan", "diffusion", "smooth", "diffusion"]


def test_settings_are_told_where_they_change_the_picture() -> None:
    assert settings_of(DecodeOptions(steps=3, seed=1, restorer=RestorerName.SMOOTH)) == ""
    assert settings_of(DecodeOptions(steps=3, seed=1)) == "profile lite"
    told = settings_of(DecodeOptions(profile=Profile.SD21, steps=3, seed=1))
    assert told == "schedule fast, steps 3, strength 1.0, profile sd21"


def test_unknown_restorer_is_refused_with_the_known_ones() -> None:
    with pytest.raises(OptionError, match=r"restorer: .*smooth"):
        parse_options(DecodeOptions, {"restorer": "sharp"})


def test_a_restorer_that_needs_networks_is_not_made_without() -> None:
    assert get_restorer(RestorerName.SMOOTH).name == "smooth"
    with pytest.raises(FeatureUnavailable, match="diffusion needs networks"):
        decode(DATA, DecodeOptions(restorer=RestorerName.DIFFUSION))


def test_restorer_without_networks_fills_the_picture_and_is_repeatable() -> None:
    first, second = (decode(DATA, DecodeOptions(restorer=RestorerName.SMOOTH)) for _ in range(2))
    assert first.picture.size == (50, 30) and first.picture.mode == "RGB"
    assert first.picture.tobytes() == second.picture.tobytes()
    assert not first.generative


def test_damaged_streams_are_stream_errors() -> None:
    for data in (b"", b"not a stream", DATA[:-1], DATA[:9], DATA[:20] + b"\xff" + DATA[21:]):
        with pytest.raises(StreamError):
            decode(data, DecodeOptions(restorer=RestorerName.SMOOTH))
