"""Our CLIP Surgery gives the published implementation's figures from the same weights.

MISC_PARITY_DIR may name a folder with other `clip_surgery.json` and `.npz`, made the same way.
"""

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from codec.encode.locate.masks import masks_from_maps
from codec.nets.clip.prompts import PROMPT_TEMPLATES
from codec.nets.clip.surgery import CLIPSurgery, ensemble_feature, feature_surgery, similarity_maps
from codec.nets.clip.tokenizer import clip_tokenizer
from codec.nets.clip.weights import Details, clip_from_tensors
from tests.parity.weights import hashed, uniform

FOLDER = Path(os.environ.get("MISC_PARITY_DIR", Path(__file__).parent / "data"))
SETTINGS: dict[str, Any] = json.loads((FOLDER / "clip_surgery.json").read_text())
FIGURES: dict[str, np.ndarray] = dict(np.load(FOLDER / "clip_surgery.npz"))

LOGIT_SCALE = math.log(1 / 0.07)


@pytest.fixture(scope="module")
def surgery() -> CLIPSurgery:
    tensors = {
        key: torch.tensor(LOGIT_SCALE) if key == "logit_scale" else torch.from_numpy(hashed(key, tuple(shape)))
        for key, shape in SETTINGS["keys"].items()
    }
    details = Details(text_heads=SETTINGS["config"]["transformer_heads"])
    return CLIPSurgery(clip_from_tensors(tensors, "hashed weights", details))


@pytest.fixture(scope="module")
def tokens(surgery: CLIPSurgery) -> torch.Tensor:
    side = math.isqrt(FIGURES["image_features"].shape[1] - 1) * SETTINGS["config"]["vision_patch_size"]
    return surgery.image_tokens(torch.from_numpy(1.5 * uniform("clip.image", (1, 3, side, side))).float())


@pytest.fixture(scope="module")
def texts(surgery: CLIPSurgery) -> torch.Tensor:
    return torch.stack([name_feature(surgery, name) for name in SETTINGS["names"]])


@pytest.fixture(scope="module")
def redundant(surgery: CLIPSurgery) -> torch.Tensor:
    return name_feature(surgery, "")


@pytest.fixture(scope="module")
def similarity(tokens: torch.Tensor, texts: torch.Tensor, redundant: torch.Tensor) -> torch.Tensor:
    return feature_surgery(tokens, texts, redundant)


@pytest.fixture(scope="module")
def maps(similarity: torch.Tensor) -> torch.Tensor:
    _, height, width, _ = FIGURES["similarity_map"].shape
    return similarity_maps(similarity[:, 1:], height, width)


def name_feature(surgery: CLIPSurgery, name: str) -> torch.Tensor:
    prompts = [template.format(name) for template in PROMPT_TEMPLATES]
    return ensemble_feature(surgery.text_features(clip_tokenizer().encode(prompts, surgery.context_length)))


def assert_agrees(ours: torch.Tensor, figure: str) -> None:
    """Within a thousandth of the figure's own standard deviation everywhere."""
    expected = FIGURES[figure]
    assert ours.shape == expected.shape
    worst = np.abs(ours.numpy() - expected).max() / expected.std()
    assert worst < 1e-3, f"{figure} is off by {worst:.2e} of its standard deviation"


def test_network_has_the_published_sizes(surgery: CLIPSurgery) -> None:
    assert surgery.resolution_px == SETTINGS["config"]["image_resolution"]
    assert surgery.context_length == SETTINGS["config"]["context_length"]


def test_image_tokens_agree(tokens: torch.Tensor) -> None:
    assert_agrees(tokens, "image_features")


def test_text_features_agree(texts: torch.Tensor) -> None:
    assert_agrees(texts, "text_features")


def test_redundant_feature_agrees(redundant: torch.Tensor) -> None:
    assert_agrees(redundant[None], "redundant_features")


def test_similarity_agrees(similarity: torch.Tensor) -> None:
    assert_agrees(similarity, "similarity")


def test_similarity_map_agrees(maps: torch.Tensor) -> None:
    assert_agrees(maps.permute(0, 2, 3, 1), "similarity_map")


def test_masks_are_identical(maps: torch.Tensor) -> None:
    expected = FIGURES["masks"]
    grey = (maps[0] * 255).to(torch.uint8).numpy()
    masks = masks_from_maps(list(grey), edge=expected.shape[-1]).masks
    assert [list(mask) for mask in masks] == expected.reshape(len(masks), -1).astype(int).tolist()
