"""The steps of CLIP Surgery, each against what it must be equal to."""

import pytest
import torch
from transformers import CLIPModel

from codec.nets.clip.prompts import PROMPT_TEMPLATES
from codec.nets.clip.surgery import CLIPSurgery, ensemble_feature, feature_surgery, similarity_maps
from codec.nets.clip.tokenizer import clip_tokenizer
from codec.nets.clip.weights import clip_from_tensors
from tests.networks.nets.tiny_clip import PICTURE_PX, SHARED, openai_tensors
from tests.parity.weights import uniform


@pytest.fixture(scope="module")
def clip() -> CLIPModel:
    return clip_from_tensors(openai_tensors(), "tiny")


@pytest.fixture(scope="module")
def surgery(clip: CLIPModel) -> CLIPSurgery:
    return CLIPSurgery(clip)


def pixels(side: int = PICTURE_PX, batch: int = 1) -> torch.Tensor:
    return torch.from_numpy(1.5 * uniform("clip.image", (batch, 3, side, side))).float()


def test_texts_that_share_beginnings_give_what_each_gives_alone(clip: CLIPModel, surgery: CLIPSurgery) -> None:
    texts = [*(template.format("old red barn") for template in PROMPT_TEMPLATES[:20]), "", "cat", "cat", "word " * 90]
    features = surgery.text_features(clip_tokenizer().encode(texts))
    ids = torch.tensor(clip_tokenizer().encode_padded(texts))
    expected = clip.get_text_features(ids).pooler_output
    expected = expected / expected.norm(dim=-1, keepdim=True)
    assert features.shape == (24, SHARED)
    assert (features - expected).abs().max() < 1e-5 * expected.std()


def test_texts_too_many_for_one_pass_give_the_same(surgery: CLIPSurgery, monkeypatch: pytest.MonkeyPatch) -> None:
    sequences = clip_tokenizer().encode([template.format("a b c") for template in PROMPT_TEMPLATES])
    at_once = surgery.text_features(sequences)
    monkeypatch.setattr("codec.nets.clip.surgery._MAX_TREE_TOKENS", 40)
    assert (surgery.text_features(sequences) - at_once).abs().max() < 1e-5


def test_class_token_is_that_of_the_network_as_trained(clip: CLIPModel, surgery: CLIPSurgery) -> None:
    # Tokens are divided by what all tokens of the picture have in common, so two pictures' ratios are compared by it.
    tokens = surgery.image_tokens(pixels())
    trained = clip.get_image_features(pixels()).pooler_output
    patches = surgery_without_normalising(clip, pixels())
    lengths = torch.cat([trained[:, None], patches], dim=1).norm(dim=1)
    assert (tokens[:, 0] - trained / lengths).abs().max() < 1e-5


def surgery_without_normalising(clip: CLIPModel, picture: torch.Tensor) -> torch.Tensor:
    """The patches' features, by the plain definition: values attend to values, block by block, no feed-forward."""
    vision = clip.vision_model
    state = vision.pre_layrnorm(vision.embeddings(picture))
    second = None
    for number, block in enumerate(vision.encoder.layers):
        if number == len(vision.encoder.layers) - 6:
            second = state
        if second is not None:
            values = block.self_attn.v_proj(block.layer_norm1(state))
            # One head at this width.
            weights = (values @ values.transpose(1, 2) / 8).softmax(-1)
            second = second + block.self_attn.out_proj(weights @ values)
        state = block(state, attention_mask=None)
    assert second is not None
    return clip.visual_projection(vision.post_layernorm(second))[:, 1:]


def test_patches_take_the_second_path(clip: CLIPModel, surgery: CLIPSurgery) -> None:
    patches = surgery_without_normalising(clip, pixels())
    tokens = surgery.image_tokens(pixels())[:, 1:]
    ratio = tokens / patches
    assert (ratio - ratio[:, :1]).abs().max() < 1e-4 * ratio.abs().max()


def test_channels_have_length_one_over_the_tokens(surgery: CLIPSurgery) -> None:
    assert torch.allclose(surgery.image_tokens(pixels(batch=2)).norm(dim=1), torch.ones(2, SHARED))


def test_pictures_of_one_batch_do_not_touch_each_other(surgery: CLIPSurgery) -> None:
    both = pixels(batch=2)
    assert torch.allclose(surgery.image_tokens(both)[1:], surgery.image_tokens(both[1:]), atol=1e-5)


def test_other_sizes_stretch_the_positions(surgery: CLIPSurgery) -> None:
    assert surgery.image_tokens(pixels(48)).shape == (1, 1 + 6 * 6, SHARED)


def test_halves_stay_close(surgery: CLIPSurgery) -> None:
    halves = CLIPSurgery(clip_from_tensors(openai_tensors(), "tiny").to(torch.bfloat16))
    close, exact = halves.image_tokens(pixels()), surgery.image_tokens(pixels())
    assert close.dtype == torch.float32
    assert (close - exact).abs().mean() < 0.05 * exact.std()
    texts = clip_tokenizer().encode(["a cat", "two dogs"])
    assert (halves.text_features(texts) * surgery.text_features(texts)).sum(-1).min() > 0.999


def test_what_texts_have_in_common_does_not_count() -> None:
    tokens = torch.from_numpy(uniform("tokens", (1, 5, 8)))
    texts, common = torch.from_numpy(uniform("texts", (2, 8))), torch.from_numpy(uniform("common", (8,)))
    expected = feature_surgery(tokens, texts, torch.zeros(8, dtype=torch.float64))
    assert torch.allclose(feature_surgery(tokens, texts + common, common), expected)


def test_maps_are_stretched_before_they_are_enlarged() -> None:
    similarity = torch.tensor([[3.0, -1.0, 0.0, 1.0], [5.0, 5.0, 5.0, 5.0]]).T[None]
    maps = similarity_maps(similarity, 2, 4)
    assert maps.shape == (1, 2, 2, 4)
    assert torch.equal(maps[0, 0, 0], torch.tensor([1.0, 0.75, 0.25, 0.0]))
    assert torch.equal(maps[0, 1], torch.zeros(2, 4))


def test_ensemble_is_the_direction_of_the_mean() -> None:
    feature = ensemble_feature(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
    assert torch.allclose(feature, torch.tensor([0.6, 0.8]))


def test_prompts_are_the_85_published_ones() -> None:
    assert len(PROMPT_TEMPLATES) == len(set(PROMPT_TEMPLATES)) == 85
    assert all(template.count("{}") == 1 for template in PROMPT_TEMPLATES)
    assert PROMPT_TEMPLATES[0] == "a bad photo of a {}." and PROMPT_TEMPLATES[-1] == "this is one {} in the scene."
