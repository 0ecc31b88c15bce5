"""The list of published weights: what is binding stays, and what is claimed has the form of the truth."""

from pathlib import Path

import pytest

from codec.options import Profile
from codec.weights.digest import digest_of
from codec.weights.manifest import Licence, Part, PathSource, Released
from codec.weights.released import RELEASED
from codec.weights.store import WeightsStore

BINDING = {
    "cheng2020-tuned": "",
    "cheng2020-attn-mse-1": "465f2b64",
    "cheng2020-attn-mse-2": "e0805385",
    "cheng2020-attn-mse-3": "2d07bbdf",
    "cheng2020-attn-mse-4": "f7b0ccf2",
    "cheng2020-attn-mse-5": "26c8920e",
    "cheng2020-attn-mse-6": "730501f2",
    "cheng2020-attn-ms-ssim-1": "c5381d91",
    "cheng2020-attn-ms-ssim-2": "5dad201d",
    "cheng2020-attn-ms-ssim-3": "5c9be841",
    "cheng2020-attn-ms-ssim-4": "8b2f647e",
    "cheng2020-attn-ms-ssim-5": "5ca1f34c",
    "cheng2020-attn-ms-ssim-6": "216423ec",
    "lite-coarse-1": "884cc8537818d6f59a402e91444e56159923e37685260aaae2247d04e1272526",
    "lite-coarse-2": "5ae3195c7f57ee824a71fc2d9c9bba313c919d8a4bd4ed599ffcf2777c5824c2",
    "lite-coarse-3": "6d6c7c036b9996840eb502beb8c1ef6e1f0a51dbdc2eb3232fcf1dfab24050ce",
}
"""Streams may name these. Lines are added here and never changed; a digest may become known where there is none."""


def test_released_coarse_networks_are_never_changed_or_removed() -> None:
    now = {entry.name: entry for entry in RELEASED}

    for name, known in BINDING.items():
        assert now[name].is_binding
        assert (now[name].sha256 or now[name].sha256_prefix or "").startswith(known)
    assert {entry.name for entry in RELEASED if entry.part is Part.COARSE} == set(BINDING)


def test_names_and_digests_are_each_of_one_file() -> None:
    names = [entry.name for entry in RELEASED]
    digests = [entry.sha256 or entry.sha256_prefix for entry in RELEASED if entry.sha256 or entry.sha256_prefix]

    assert len(set(names)) == len(names)
    assert len({digest[:8] for digest in digests}) == len(digests)


def test_every_entry_says_where_it_can_be_had_and_under_which_terms() -> None:
    for entry in RELEASED:
        addresses = [source.address("https://hub.example") for source in entry.sources]
        is_own = entry.name.startswith("lite-")
        assert addresses and all(is_own or address.startswith("https://") for address in addresses), entry.name
        assert entry.licence.identifier and entry.licence.link.startswith("https://"), entry.name


def test_compressai_names_carry_the_prefix_that_is_checked() -> None:
    for entry in RELEASED:
        if entry.sha256_prefix is not None:
            assert f"-{entry.sha256_prefix}." in entry.file_name


def test_profile_sd21_needs_one_file_for_each_purpose(tmp_path: object) -> None:
    store = WeightsStore(tmp_path)  # type: ignore[arg-type]

    assert store.names_of(Profile.SD21) == ["cheng2020-tuned", "clip-vit-b16", "diffbir-v1-general-full"]
    assert store.names_of(Profile.LITE) == []


@pytest.mark.parametrize(
    "fields", [{"name": "Bad Name"}, {"file_name": "a/b"}, {"sha256": "abc"}, {"sha256_prefix": "XYZ"}]
)
def test_entry_that_cannot_be_true_is_refused(fields: dict[str, str]) -> None:
    good = {
        "name": "a", "part": Part.CLIP, "architecture": "b", "file_name": "c", "licence": Licence("MIT", "x"),
        "sources": (),
    }  # fmt: skip
    Released(**good)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"cannot name|SHA-256"):
        Released(**(good | fields))  # type: ignore[arg-type]


def test_digest_prefix_of_a_stream_means_only_what_is_known() -> None:
    known = {entry.name: entry for entry in RELEASED}

    assert known["clip-vit-b16"].may_be_named_by("5806e77c")
    assert not known["clip-vit-b16"].may_be_named_by("5806e77d")
    assert known["cheng2020-attn-mse-1"].may_be_named_by("465f2b64aa")
    assert not known["cheng2020-tuned"].may_be_named_by("465f2b64")


def test_earlier_networks_of_this_project_lie_in_its_repository() -> None:
    for entry in RELEASED:
        if entry.name.startswith("lite-"):
            (source,) = entry.sources
            assert isinstance(source, PathSource) and digest_of(Path(source.path)) == entry.sha256
