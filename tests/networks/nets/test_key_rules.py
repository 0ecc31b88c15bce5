"""Rules carry checkpoints over completely or refuse them by name."""

import pytest
import torch

from codec.errors import WeightsCorrupt
from codec.nets.loading.key_rules import Names, Rule, as_linear, convert, ignore, move, placed, thirds, under


def shapes(**named: tuple[int, ...]) -> dict[str, torch.Size]:
    return {name.replace("__", "."): torch.Size(shape) for name, shape in named.items()}


def test_holes_stand_for_one_component_a_number_or_any_rest() -> None:
    rule = move("blocks.{#n}.{p}.{*rest}", "levels.{n}.{rest}.{p}")
    assert rule.targets_of("blocks.7.norm.a.b") == ("levels.7.a.b.norm",)
    assert rule.targets_of("blocks.seven.norm.a.b") is None
    assert rule.targets_of("blocks.1234.norm.a") is None
    assert rule.targets_of("blocks.7.norm") is None
    assert rule.targets_of("xblocks.7.norm.a") is None


def test_dots_in_a_source_are_dots() -> None:
    assert move("a.b", "c").targets_of("axb") is None


def test_a_place_adds_names_and_may_decline() -> None:
    def halves(names: Names) -> Names | None:
        return {"half": str(int(names["n"]) // 2)} if names["n"] != "9" else None

    (rule,) = placed(under("in.", "out.", [move("{#n}.w", "{half}.{n}.w")]), halves)
    assert rule.targets_of("in.5.w") == ("out.2.5.w",)
    assert rule.targets_of("in.9.w") is None


def test_a_packed_projection_becomes_query_key_and_value_in_this_order() -> None:
    rule = Rule("qkv", ("q", "k", "v"), thirds)
    packed = torch.arange(12.0).reshape(6, 2)
    tensors = convert([rule], {"qkv": packed}, shapes(q=(2, 2), k=(2, 2), v=(2, 2)), "f").tensors
    assert [tensors[name][0, 0].item() for name in "qkv"] == [0, 4, 8]
    assert tensors["v"].untyped_storage().data_ptr() == packed.untyped_storage().data_ptr()


def test_a_pointwise_convolution_becomes_a_matrix_and_a_bias_stays() -> None:
    rule = move("proj.{p}", "linear.{p}", as_linear)
    tensors = {"proj.weight": torch.ones(3, 2, 1, 1), "proj.bias": torch.ones(3)}
    converted = convert([rule], tensors, shapes(linear__weight=(3, 2), linear__bias=(3,)), "f").tensors
    assert converted["linear.weight"].shape == (3, 2)


@pytest.mark.parametrize("shape", [(), (4, 2), (6, 3)])
def test_what_cannot_be_split_is_refused(shape: tuple[int, ...]) -> None:
    wanted = shapes(q=(2, 2), k=(2, 2), v=(2, 2))
    with pytest.raises(WeightsCorrupt, match="f: qkv"):
        convert([Rule("qkv", ("q", "k", "v"), thirds)], {"qkv": torch.zeros(shape)}, wanted, "f")


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(WeightsCorrupt, match=r"model\.ckpt: the key extra\.weight"):
        convert([move("a", "a")], {"extra.weight": torch.zeros(1)}, {}, "model.ckpt")


def test_a_key_without_a_place_in_this_network_is_named() -> None:
    with pytest.raises(WeightsCorrupt, match=r"no place for blocks\.3\.w"):
        convert([move("blocks.{#n}.w", "{n}.w")], {"blocks.3.w": torch.zeros(1)}, {}, "f")


def test_a_parameter_that_two_keys_fill_is_named() -> None:
    rules = [move("old", "w"), move("new", "w")]
    with pytest.raises(WeightsCorrupt, match="new fills w, which another key filled"):
        convert(rules, {"old": torch.zeros(1), "new": torch.zeros(1)}, shapes(w=(1,)), "f")


def test_a_parameter_that_nothing_fills_is_named() -> None:
    with pytest.raises(WeightsCorrupt, match="nothing fills 2 parameters, the first of which is b"):
        convert([move("{p}", "{p}")], {"a": torch.zeros(1)}, shapes(a=(1,), b=(1,), c=(1,)), "f")


def test_a_key_that_is_not_needed_is_taken_all_the_same() -> None:
    rule = ignore("logit_scale", "not used here")
    assert convert([rule], {"logit_scale": torch.zeros(())}, {}, "f").taken == {"logit_scale": rule}


def test_two_rules_for_one_key_are_a_mistake_in_the_rules() -> None:
    with pytest.raises(ValueError, match="a is taken by"):
        convert([move("a", "a"), move("{p}", "{p}")], {"a": torch.zeros(1)}, shapes(a=(1,)), "f")
