"""One tiny network for all tests of parity; making its weights costs a second."""

import pytest
import torch
from figures import tiny_checkpoint, tiny_config

from codec.nets.diffbir.checkpoints import assemble, whole
from codec.nets.diffbir.network import DiffBIR


@pytest.fixture(scope="session")
def tiny_diffbir() -> DiffBIR:
    """DiffBIR with the weights that the figures were taken with."""
    config = tiny_config()
    return assemble([whole(tiny_checkpoint(), config, "tiny")], config, torch.float32)
