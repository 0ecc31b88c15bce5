"""The diffusion restorer serves many requests step by step, each with its own options, noise and progress."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_networks import TEXTS, ask, quarter_maps, smooth, textured, tiny_networks
from watched_networks import WatchedNetworks

from codec.bitstream import Maps, PixelCoarse, Stream
from codec.bitstream.container import pack
from codec.decode.diffusion.networks import Stage
from codec.decode.diffusion.passes import NEGATIVE_TEXT
from codec.decode.diffusion.restorer import DiffusionRestorer
from codec.decode.diffusion.state import DiffusionState
from codec.decode.pipeline import decode
from codec.decode.restore import RestoreRequest
from codec.errors import Cancelled, OptionError, OutOfMemory
from codec.options import DecodeOptions, RestorerName, Solver, parse_options
from codec.picture.save import Provenance, save_picture
from codec.working_size import WorkingSize

MASKS = tuple(mask.tobytes() for mask in quarter_maps())
DATA = pack(Stream(60, 40, PixelCoarse(6, 4, 3, bytes(range(24)) * 3), TEXTS, Maps(8, MASKS))).data


def stage_counts(networks: WatchedNetworks) -> dict[str, int]:
    return {str(stage): len(networks.shapes(stage)) for stage in Stage if networks.shapes(stage)}


def run(restorer: DiffusionRestorer, request: RestoreRequest) -> np.ndarray:
    return np.asarray(restorer.finish(restorer.begin(request)))


@pytest.fixture
def networks() -> WatchedNetworks:
    return WatchedNetworks()


@pytest.fixture
def restorer(networks: WatchedNetworks) -> DiffusionRestorer:
    made = DiffusionRestorer(networks)
    networks.calls.clear()
    return made


def test_fast_evaluates_the_network_twelve_times_with_all_regions_in_two_samples(
    restorer: DiffusionRestorer, networks: WatchedNetworks
) -> None:
    state = restorer.begin(ask(textured(64, 64), maps=quarter_maps()))
    assert (state.steps_done, state.steps_total) == (0, 16)
    picture = restorer.finish(state)
    assert picture.size == (64, 64) and picture.mode == "RGB"
    assert state.steps_done == state.steps_total
    assert stage_counts(networks) == {"clean": 1, "encode": 1, "diffuse": 12, "decode": 1}
    assert set(networks.shapes(Stage.DIFFUSE)) == {(2, 4, 8, 8)}
    assert networks.texts == [TEXTS.overall, *TEXTS.details, NEGATIVE_TEXT]


def test_staged_evaluates_it_three_times_an_item_and_forty_times_for_the_whole(
    restorer: DiffusionRestorer, networks: WatchedNetworks
) -> None:
    run(restorer, ask(textured(64, 64), schedule="staged", maps=quarter_maps()))
    assert stage_counts(networks) == {"clean": 4, "encode": 4, "diffuse": 3 * 3 + 40, "decode": 4}


def test_guidance_one_needs_no_unguided_half(restorer: DiffusionRestorer, networks: WatchedNetworks) -> None:
    run(restorer, ask(textured(128, 128), guidance=1, steps=3))
    assert networks.shapes(Stage.DIFFUSE) == [(1, 4, 16, 16)] * 3


def test_every_option_changes_the_picture(restorer: DiffusionRestorer, networks: WatchedNetworks) -> None:
    asked: list[dict[str, object]] = [
        {},
        {"steps": 4},
        {"guidance": 2.0},
        {"strength": 0.5},
        {"seed": 8},
        {"res": 128},
        {"solver": "ddpm"},
        {"solver": "unipc"},
        {"solver": "euler"},
        {"maps": quarter_maps()},
        {"maps": quarter_maps(), "schedule": "staged"},
    ]
    pictures = [run(restorer, ask(textured(64, 64), **{"steps": 3, **options})).tobytes() for options in asked]
    assert len(set(pictures)) == len(asked)
    assert 0.5 in networks.strengths


def test_options_out_of_bounds_are_refused() -> None:
    for options in ({"steps": 0}, {"steps": 201}, {"guidance": -1}, {"strength": 2.1}, {"strength": -0.1}, {"res": 32},
                    {"res": 4096}, {"solver": "magic"}):  # fmt: skip
        with pytest.raises(OptionError, match=next(iter(options))):
            parse_options(DecodeOptions, options)


def test_one_ancestral_step_is_refused_because_it_begins_at_the_clean_end(restorer: DiffusionRestorer) -> None:
    with pytest.raises(OptionError, match="ddpm needs at least 2"):
        restorer.begin(ask(textured(64, 64), schedule="staged", steps=1))


def test_requests_at_different_places_share_calls_and_get_the_pictures_they_get_alone(
    restorer: DiffusionRestorer, networks: WatchedNetworks
) -> None:
    requests = [
        ask(textured(64, 64, seed=1), steps=4, seed=1),
        ask(textured(64, 64, seed=2), steps=6, seed=2, solver="unipc"),
        ask(textured(64, 64, seed=3), steps=5, seed=3, guidance=2, schedule="staged"),
    ]
    alone = [run(restorer, request).astype(int) for request in requests]
    networks.calls.clear()
    states: list[DiffusionState] = []
    for request in requests:
        states.append(restorer.begin(request))
        restorer.step(states)
    while not all(state.is_done for state in states):
        restorer.step(states)
    together = [np.asarray(restorer.finish(state)).astype(int) for state in states]
    # Sums over a batch are taken in another order, which may move a value across the border between two levels.
    assert max(np.abs(one - other).max() for one, other in zip(alone, together, strict=True)) <= 1
    assert sum(shape[0] for shape in networks.shapes(Stage.DIFFUSE)) == 2 * (4 + 6 + 5)
    assert (6, 4, 8, 8) in networks.shapes(Stage.DIFFUSE)
    assert [state.steps_done for state in states] == [state.steps_total for state in states]


def test_requests_of_other_shapes_do_not_share_a_call(restorer: DiffusionRestorer, networks: WatchedNetworks) -> None:
    asked = (
        ask(textured(64, 64), steps=2),
        ask(textured(64, 128), steps=2),
        ask(textured(64, 64), steps=2, strength=0),
    )
    states = [restorer.begin(request) for request in asked]
    while not all(state.is_done for state in states):
        restorer.step(states)
    assert {shape[0] for shape in networks.shapes(Stage.DIFFUSE)} == {2}


def test_a_request_that_is_dropped_leaves_the_others_the_pictures_they_get_alone(restorer: DiffusionRestorer) -> None:
    kept, dropped = ask(textured(64, 64, seed=1), steps=4), ask(textured(64, 128, seed=2), steps=4)
    alone = run(restorer, kept)
    states = [restorer.begin(kept), restorer.begin(dropped)]
    for _ in range(4):
        restorer.step(states)
    while not states[0].is_done:
        restorer.step(states[:1])
    assert np.array_equal(np.asarray(restorer.finish(states[0])), alone)
    assert states[1].steps_done == 4 and states[1].failure is None


def test_a_request_too_large_leaves_the_others_the_pictures_they_get_alone(
    restorer: DiffusionRestorer, networks: WatchedNetworks
) -> None:
    small = ask(textured(64, 64, seed=1), steps=4)
    alone = run(restorer, small)
    # The smallest tile, 128 x 128, does not fit; the small picture is less than that.
    networks.too_large_px = 128 * 128
    states = [restorer.begin(ask(smooth(192, 192), steps=4)), restorer.begin(small)]
    while not states[1].is_done:
        restorer.step(states)
    assert isinstance(states[0].failure, OutOfMemory)
    assert np.array_equal(np.asarray(restorer.finish(states[1])), alone)


def test_each_call_is_built_once_a_step(restorer: DiffusionRestorer, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[DiffusionState] = []
    next_call = DiffusionState.next_call
    monkeypatch.setattr(DiffusionState, "next_call", lambda state: (built.append(state), next_call(state))[1])
    states = [restorer.begin(ask(textured(64, 64, seed=seed), steps=2)) for seed in (1, 2)]
    while not all(state.is_done for state in states):
        restorer.step(states)
    assert len(built) == sum(state.steps_done for state in states) == 12


def test_no_call_is_made_for_more_requests_than_memory_is_there_for() -> None:
    networks = WatchedNetworks(bytes_per_px=dict.fromkeys(tiny_networks().bytes_per_px, 1e9))
    restorer = DiffusionRestorer(networks)
    states = [restorer.begin(ask(textured(64, 64), steps=2)) for _ in range(3)]
    while not all(state.is_done for state in states):
        restorer.step(states)
    assert set(networks.shapes(Stage.DIFFUSE)) == {(2, 4, 8, 8)}


def test_a_step_is_one_tile_so_that_cancelling_never_waits_long(networks: WatchedNetworks) -> None:
    restorer = DiffusionRestorer(networks, tile_px=128)
    state = restorer.begin(ask(smooth(192, 192), steps=2))
    networks.calls.clear()
    restorer.step([state])
    while not state.is_done:
        before = len(networks.calls)
        restorer.step([state])
        assert len(networks.calls) == before + 1
    assert state.steps_done == state.steps_total == 1 + 4 + 4 + 2 * 4 + 4


def test_cancelling_stops_before_the_next_step(restorer: DiffusionRestorer, networks: WatchedNetworks) -> None:
    options = DecodeOptions(restorer=RestorerName.DIFFUSION, res=64)
    seen: list[float] = []
    with pytest.raises(Cancelled):
        decode(
            DATA,
            options,
            restorer=restorer,
            on_progress=lambda stage, share: seen.append(share),
            cancelled=lambda: len(seen) >= 7,
        )
    assert sum(stage_counts(networks).values()) + 1 == 5 and len(seen) == 7


def test_timings_are_kept_by_stage(restorer: DiffusionRestorer) -> None:
    state = restorer.begin(ask(textured(64, 64), steps=2))
    restorer.finish(state)
    assert set(state.seconds) == set(Stage) - {Stage.GUIDE} and min(state.seconds.values()) > 0


def test_previews_are_there_at_every_step_in_the_pictures_shape(restorer: DiffusionRestorer) -> None:
    state = restorer.begin(ask(textured(60, 100), steps=2))
    sizes = [state.preview().size]
    while not state.is_done:
        restorer.step([state])
        sizes.append(state.preview().size)
    # The picture itself, then a pixel a latent of the 107 x 64 that it is raised to, then the picture again.
    assert sizes == [(100, 60)] * 4 + [(14, 8)] * 2 + [(100, 60)]


def test_a_preview_of_a_large_picture_is_small(restorer: DiffusionRestorer) -> None:
    assert restorer.begin(ask(smooth(1200, 3000))).preview().size == (512, 205)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (700, 1), (3, 500)])
def test_pictures_of_a_pixel_or_a_row_are_painted(restorer: DiffusionRestorer, width: int, height: int) -> None:
    assert run(restorer, ask(textured(height, width), steps=2)).shape == (height, width, 3)


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (768, 512, (1536, 1024, 1536, 1024)),
        (1000, 701, (1461, 1024, 1472, 1024)),
        (4032, 3024, (4032, 3024, 4032, 3072)),
        (65_535, 1, (65_535, 1, 65_536, 64)),
        (1, 65_535, (1, 65_535, 64, 65_536)),
        (2000, 10, (8192, 41, 8192, 64)),
    ],
)
def test_the_short_edge_is_raised_but_a_long_picture_stays_bounded(
    width: int, height: int, expected: tuple[int, int, int, int]
) -> None:
    size = WorkingSize.of(width, height, 1024, 64)
    assert (size.width, size.height, size.padded_width, size.padded_height) == expected


def test_the_longest_picture_is_begun_in_tiles_at_once(networks: WatchedNetworks) -> None:
    state = DiffusionRestorer(networks, tile_px=512).begin(ask(textured(1, 65_535), res=1024))
    assert 1000 < state.steps_total < 2000


def test_same_stream_gives_the_same_bytes_twice(restorer: DiffusionRestorer) -> None:
    first, second = (png(restorer) for _ in range(2))
    assert first == second


def png(restorer: DiffusionRestorer) -> bytes:
    decoded = decode(
        DATA, DecodeOptions(restorer=RestorerName.DIFFUSION, res=64, solver=Solver.DDPM, steps=4), restorer=restorer
    )
    assert decoded.generative and decoded.picture.size == (60, 40)
    return save_picture(decoded.picture, "png", Provenance("diffusion", decoded.stream_sha256, decoded.seed, True))


def test_noise_does_not_depend_on_other_requests_or_on_pytorchs_own_seed(restorer: DiffusionRestorer) -> None:
    request = ask(textured(64, 64), steps=2, solver="ddpm")
    torch.manual_seed(1)
    first = run(restorer, request)
    torch.manual_seed(2)
    other = restorer.begin(ask(textured(64, 64), steps=2, seed=9))
    restorer.step([other])
    restorer.step([other])
    assert np.array_equal(first, run(restorer, request))


def test_the_picture_is_what_the_png_holds(restorer: DiffusionRestorer) -> None:
    decoded = decode(DATA, DecodeOptions(restorer=RestorerName.DIFFUSION, res=64, steps=2), restorer=restorer)
    file = save_picture(decoded.picture, "png", Provenance("diffusion", decoded.stream_sha256, decoded.seed, True))
    with Image.open(io.BytesIO(file)) as reread:
        assert np.array_equal(np.asarray(reread), np.asarray(decoded.picture))
