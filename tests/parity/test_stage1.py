"""Our BSRNet and SCUNet give the figures of the published ones, from the same weights, and are read off their keys."""

import numpy as np
import pytest
import torch
from figures import assert_agrees, figures
from weights import hashed, uniform

from codec.errors import WeightsCorrupt
from codec.nets.diffbir.bsrnet import BSRNET_RULES, BSRNet
from codec.nets.diffbir.config import BSRNetConfig, SCUNetConfig
from codec.nets.diffbir.dimensions import stage1_of
from codec.nets.diffbir.scunet import SCUNet, scunet_rules
from codec.nets.loading.key_rules import convert

SPEC, FIGURES = figures("stage1")
CONFIGS = {"bsrnet": BSRNetConfig(8, 4, 2), "scunet": SCUNetConfig(64, (2, 1, 1, 2, 1, 1, 2))}


def tensors_of(name: str) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(hashed(key, tuple(shape))) for key, shape in SPEC["keys"][name].items()}


def picture(name: str, height: int, width: int) -> torch.Tensor:
    return torch.from_numpy(((uniform(f"{name}.image", (1, 3, height, width)) + 1) / 2).astype(np.float32))


@pytest.fixture(scope="module")
def bsrnet() -> BSRNet:
    network = BSRNet(CONFIGS["bsrnet"])
    wanted = {name: value.shape for name, value in network.state_dict().items()}
    network.load_state_dict(convert(BSRNET_RULES, tensors_of("bsrnet"), wanted, "BSRNet.pth").tensors)
    return network.eval()


@pytest.fixture(scope="module")
def scunet() -> SCUNet:
    network = SCUNet(CONFIGS["scunet"])
    wanted = {name: value.shape for name, value in network.state_dict().items()}
    rules = scunet_rules(CONFIGS["scunet"])
    network.load_state_dict(convert(rules, tensors_of("scunet"), wanted, "scunet.pth").tensors)
    return network.eval()


@torch.inference_mode()
def test_bsrnet_enlarges_as_published(bsrnet: BSRNet) -> None:
    assert_agrees(bsrnet.enlarged(picture("bsrnet", 24, 20))[:, :, ::2, ::2], FIGURES["bsrnet"])
    whole = picture("bsrnet", 64, 128)
    assert bsrnet(whole).shape == whole.shape


@torch.inference_mode()
def test_scunet_cleans_as_published(scunet: SCUNet) -> None:
    assert scunet.multiple_px == 64
    assert_agrees(scunet(picture("scunet", 128, 64))[:, :, ::2, ::2], FIGURES["scunet"])


@pytest.mark.parametrize("name", CONFIGS)
def test_dimensions_are_read_off_the_keys(name: str) -> None:
    assert stage1_of(tensors_of(name), name) == CONFIGS[name]


def test_keys_of_no_first_stage_are_refused() -> None:
    with pytest.raises(WeightsCorrupt, match="no network that is known"):
        stage1_of({"weight": torch.zeros(3)}, "x")
    with pytest.raises(WeightsCorrupt):
        stage1_of({"m_head.0.weight": torch.zeros(64, 3, 3, 3)}, "x")
