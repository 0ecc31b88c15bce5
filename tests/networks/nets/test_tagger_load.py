"""The tagger out of a store: read with the first picture and not before, refused when it is another file."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from codec.errors import WeightsCorrupt
from codec.nets.tagger.load import ARCHITECTURE, find_tagger
from codec.weights.manifest import Part
from codec.weights.store import WeightsStore


def test_file_that_is_no_tagger_is_refused_with_its_name(tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2)}, file)
    store = WeightsStore(tmp_path / "weights", shipped=None)
    store.add(file, name="mine", part=Part.TAGGER, architecture=ARCHITECTURE)
    tagger = find_tagger(store)

    assert tagger is not None, "nothing was read so far"
    with pytest.raises(WeightsCorrupt, match="mine is no tagger"):
        tagger.look(Image.new("RGB", (8, 8)))
