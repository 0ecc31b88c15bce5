"""The lite restorer's networks: what they are before training, how they come out of tensors, which words they know."""

import numpy as np
import pytest
import torch

from codec.nets.clip.tokenizer import END, PADDING, START, clip_tokenizer
from codec.nets.lite.config import FIRST_TIME, LiteConfig
from codec.nets.lite.network import LiteRestorer
from codec.nets.lite.vocabulary import UNKNOWN, Vocabulary

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def network() -> LiteRestorer:
    torch.manual_seed(3)
    return LiteRestorer(LiteConfig.of(40)).eval().requires_grad_(False)


def tensors_of(network: LiteRestorer) -> dict[str, torch.Tensor]:
    return dict(network.state_dict())


def look(network: LiteRestorer, picture: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    condition = network.encode(picture)
    times = torch.full((len(picture),), FIRST_TIME)
    return network.decode(network.predict(condition, times, network.embed(ids), condition))


def test_latent_is_the_picture_itself(network: LiteRestorer) -> None:
    picture = torch.rand(2, 3, 32, 64)

    latent = network.encode(picture)

    assert latent.shape == (2, 48, 8, 16)
    assert torch.allclose(network.decode(latent), picture, atol=1e-6)


def test_network_whose_last_layer_is_zero_gives_the_coarse_picture_back() -> None:
    untrained = LiteRestorer(LiteConfig.of(40)).eval().requires_grad_(False)
    torch.nn.init.zeros_(untrained.unet.conv_out.weight)
    torch.nn.init.zeros_(untrained.unet.conv_out.bias)
    picture = torch.rand(1, 3, 64, 32)

    assert torch.allclose(look(untrained, picture, torch.ones(1, 77, dtype=torch.long)), picture, atol=1e-6)


def test_tensors_make_the_same_network_again_with_its_own_vocabulary(network: LiteRestorer) -> None:
    again = LiteRestorer.filled(tensors_of(network), 40)
    picture, ids = torch.rand(1, 3, 64, 64), torch.arange(77)[None] % 40

    assert again.config.text.vocabulary == 40
    assert torch.equal(look(again, picture, ids), look(network, picture, ids))


@pytest.mark.parametrize("fault", ["missing", "extra", "shape", "none", "vocabulary"])
def test_tensors_of_another_network_are_refused(network: LiteRestorer, fault: str) -> None:
    tensors = tensors_of(network)
    if fault == "missing":
        del tensors["unet.conv_in.weight"]
    elif fault == "extra":
        tensors["unet.conv_extra.weight"] = torch.zeros(1)
    elif fault == "shape":
        tensors["unet.conv_in.bias"] = torch.zeros(5)
    else:
        tensors = {}

    with pytest.raises(RuntimeError):
        LiteRestorer.filled(tensors, 41 if fault == "vocabulary" else 40)


def test_known_tokens_have_ids_of_their_own_and_all_others_share_one() -> None:
    (red, door), (zebra,) = (clip_tokenizer().encode([text])[0][1:-1] for text in ("red door", "zebra"))
    vocabulary = Vocabulary(np.array(sorted({PADDING, red, door, START, END}), np.int32))

    known, unknown, empty = vocabulary.ids(["red door", "red zebra", ""])

    assert len(vocabulary) == 6
    assert known.shape == (77,)
    assert known[1] != known[2] and UNKNOWN not in known
    assert unknown[1] == known[1] and unknown[2] == UNKNOWN
    assert list(empty[:3]) == [known[0], known[3], empty[76]]
    assert zebra not in vocabulary.known
