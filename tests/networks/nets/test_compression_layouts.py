"""Checkpoints of learned codecs in every layout that they are published in, and those that are something else."""

from collections.abc import Callable

import pytest
import torch

from codec.errors import FeatureUnavailable, WeightsCorrupt
from codec.nets.compression.checkpoint_layouts import State, plain_state
from codec.nets.compression.network import load_network
from tests.networks.nets.compression_weights import photo, unchanging_state

PICTURE = photo().crop((300, 200, 364, 264))


def _old_names(state: State) -> State:
    renamed = {}
    for key, value in state.items():
        for new, old in (("matrices.", "_matrix"), ("biases.", "_bias"), ("factors.", "_factor")):
            key = key.replace(f"entropy_bottleneck.{new}", f"entropy_bottleneck.{old}")
        renamed[key.replace(".skip.", ".downsample.")] = value
    return renamed


def _trainer(state: State) -> dict[str, object]:
    return {"epoch": 7, "state_dict": state, "optimizer": {"lr": 1e-4}, "aux_optimizer": {}, "loss": 0.5}


LAYOUTS: dict[str, Callable[[State], dict[str, object]]] = {
    "bare": dict,
    "network": lambda state: {"network": state},
    "state_dict": _trainer,
    "model_state_dict": lambda state: {"model_state_dict": state, "epoch": 3},
    "data parallel": lambda state: {"state_dict": {f"module.{key}": value for key, value in state.items()}},
    "older names": _old_names,
    "with derived buffers": lambda state: {
        **state,
        "entropy_bottleneck._quantized_cdf": torch.zeros(8, 30, dtype=torch.int32),
        "entropy_bottleneck._cdf_length": torch.zeros(8, dtype=torch.int32),
        "gaussian_conditional.scale_table": torch.zeros(64),
        "context_prediction.mask": torch.ones(16, 8, 5, 5),
        "lmbda": torch.tensor(0.01),
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_published_layout_gives_the_same_codec(layout: str) -> None:
    state = unchanging_state("cheng2020-attn", 8, 8)
    bare = load_network("cheng2020-attn", state, b"12345678")

    codec = load_network("cheng2020-attn", LAYOUTS[layout](state), b"12345678")

    assert codec.digest == b"1234"
    assert codec.compress(PICTURE, 1) == bare.compress(PICTURE, 1)


@pytest.mark.parametrize(
    ("weights", "taken_for"),
    [
        ("mbt2018", "mbt2018-mean"),
        ("mbt2018-mean", "mbt2018"),
        ("mbt2018-mean", "bmshj2018-hyperprior"),
        ("bmshj2018-hyperprior", "mbt2018-mean"),
        ("bmshj2018-hyperprior", "bmshj2018-factorized"),
        ("bmshj2018-factorized", "bmshj2018-factorized-relu"),
        ("cheng2020-attn", "cheng2020-anchor"),
        ("cheng2020-anchor", "cheng2020-attn"),
        ("mbt2018", "cheng2020-attn"),
    ],
)
def test_weights_of_another_architecture_are_refused(weights: str, taken_for: str) -> None:
    with pytest.raises(WeightsCorrupt, match=taken_for):
        load_network(taken_for, unchanging_state(weights, 8, 8), b"1234")


def test_unknown_architecture_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(FeatureUnavailable, match=r"elic2022.*cheng2020-attn.*mbt2018-mean"):
        load_network("elic2022-official", unchanging_state("cheng2020-attn", 8, 8), b"1234")


@pytest.mark.parametrize("key", ["g_s.9.0.weight", "h_s.4.bias", "entropy_bottleneck.quantiles", "h_a.0.weight"])
def test_weights_that_lack_something_or_have_it_in_another_shape_are_refused(key: str) -> None:
    state = unchanging_state("cheng2020-attn", 8, 8)
    lacking = {name: value for name, value in state.items() if name != key}
    misshapen = {**state, key: torch.zeros(3, 3)}

    for broken in (lacking, misshapen):
        with pytest.raises(WeightsCorrupt):
            load_network("cheng2020-attn", broken, b"1234")


def test_numbers_of_few_bits_are_computed_with_like_others() -> None:
    state = {key: value.to(torch.float8_e4m3fn) for key, value in unchanging_state("mbt2018-mean", 8, 8).items()}
    wide = load_network("mbt2018-mean", {key: value.float() for key, value in state.items()}, b"12345678")
    narrow = load_network("mbt2018-mean", state, b"12345678")
    assert narrow.compress(PICTURE, 1) == wide.compress(PICTURE, 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float) -> None:
    state = unchanging_state("mbt2018-mean", 8, 12)
    state["g_s.2.weight"][0, 0, 0, 0] = value

    with pytest.raises(WeightsCorrupt, match=r"g_s\.2\.weight"):
        load_network("mbt2018-mean", state, b"1234")


def test_tensor_that_claims_more_than_there_is_is_refused_before_it_is_touched() -> None:
    state = unchanging_state("mbt2018-mean", 8, 12)
    state["g_s.0.weight"] = torch.zeros(1).expand(1 << 40)

    with pytest.raises(WeightsCorrupt, match="claims"):
        load_network("mbt2018-mean", state, b"1234")


@pytest.mark.parametrize("loaded", [{}, {"state_dict": {}}, {"weight": torch.zeros(1)}, {"g_a.0.weight": "no tensor"}])
def test_checkpoints_without_a_codec_are_refused(loaded: dict[str, object]) -> None:
    with pytest.raises(WeightsCorrupt):
        plain_state(loaded)
