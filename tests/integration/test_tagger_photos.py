"""The networks that come along, on photos that scikit-image brings: the right names at the right places, in time."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from codec.encode.describe.local import describe_locally
from codec.nets.tagger.load import find_tagger, warm_up
from codec.nets.tagger.sighting import PictureTagger
from codec.weights.store import WeightsStore

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> PictureTagger:
    store = WeightsStore(tmp_path_factory.mktemp("nothing-here"))
    assert warm_up(store)
    found = find_tagger(store)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("photo", "noun"),
    [("chelsea", "cat"), ("coffee", "cup"), ("rocket", "rocket"), ("astronaut", "person")],
)
def test_photo_is_named_after_what_it_shows(tagger: PictureTagger, photo: str, noun: str) -> None:
    found = describe_locally(Image.fromarray(getattr(data, photo)()), tagger)

    first = found.description.items[0]
    assert first.name.split()[-1] == noun
    assert noun in found.description.overall
    assert noun in first.detail


def test_map_of_the_rocket_is_the_rocket(tagger: PictureTagger) -> None:
    values = describe_locally(Image.fromarray(data.rocket()), tagger).maps[0]
    rows, columns = np.nonzero(values > 0.5)

    assert 0.01 < (values > 0.5).mean() < 0.08
    # It stands a little left of the middle of the picture, higher than wide.
    assert 0.4 < columns.mean() / values.shape[1] < 0.6
    assert np.ptp(rows) / values.shape[0] > 1.5 * np.ptp(columns) / values.shape[1]


def test_same_photo_is_seen_alike_twice(tagger: PictureTagger) -> None:
    photo = Image.fromarray(data.chelsea())

    assert describe_locally(photo, tagger).description == describe_locally(photo, tagger).description


def test_pattern_and_noise_are_not_named(tagger: PictureTagger) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    checks = np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((32, 32)))[..., None].repeat(3, 2).astype(np.uint8) * 255
    for pixels in (noise, checks, np.full((100, 150, 3), 128, np.uint8)):
        overall = describe_locally(Image.fromarray(pixels), tagger).description.overall
        assert overall == describe_locally(Image.fromarray(pixels)).description.overall


def test_looking_takes_less_than_two_seconds_of_one_core(tagger: PictureTagger) -> None:
    photo = Image.fromarray(data.coffee()).resize((768, 512))
    started = time.thread_time()
    tagger.look(photo)

    assert time.thread_time() - started < 2


def test_store_without_the_file_has_no_tagger(tmp_path: Path) -> None:
    assert find_tagger(WeightsStore(tmp_path, shipped=None)) is None


def test_finding_a_tagger_imports_no_pytorch(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from codec.encode.dependencies import EncodeDependencies, resolve; "
        "from codec.options import EncodeOptions; "
        "from codec.weights.store import WeightsStore; "
        "parts = resolve(EncodeDependencies(), EncodeOptions(), WeightsStore(Path(sys.argv[1]))); "
        "assert parts.tagger is not None; assert 'torch' not in sys.modules and 'scipy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
