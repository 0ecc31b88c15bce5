"""A CLIP of the real architecture at a tiny width, as OpenAI's checkpoints name its tensors."""

import math

import torch

from tests.parity.weights import hashed

WIDTH, SHARED, VISION_BLOCKS, TEXT_BLOCKS, PATCH_PX, PICTURE_PX = 64, 32, 7, 2, 8, 32


def openai_tensors() -> dict[str, torch.Tensor]:
    """Every key of a whole checkpoint."""
    shapes: dict[str, tuple[int, ...]] = {
        "positional_embedding": (77, WIDTH),
        "text_projection": (WIDTH, SHARED),
        "token_embedding.weight": (49408, WIDTH),
        "ln_final.weight": (WIDTH,),
        "ln_final.bias": (WIDTH,),
        "visual.class_embedding": (WIDTH,),
        "visual.positional_embedding": ((PICTURE_PX // PATCH_PX) ** 2 + 1, WIDTH),
        "visual.proj": (WIDTH, SHARED),
        "visual.conv1.weight": (WIDTH, 3, PATCH_PX, PATCH_PX),
    }
    for norm in ("visual.ln_pre", "visual.ln_post"):
        shapes |= {f"{norm}.weight": (WIDTH,), f"{norm}.bias": (WIDTH,)}
    blocks = [f"visual.transformer.resblocks.{n}" for n in range(VISION_BLOCKS)]
    blocks += [f"transformer.resblocks.{n}" for n in range(TEXT_BLOCKS)]
    for block in blocks:
        shapes |= {
            f"{block}.attn.in_proj_weight": (3 * WIDTH, WIDTH),
            f"{block}.attn.in_proj_bias": (3 * WIDTH,),
            f"{block}.attn.out_proj.weight": (WIDTH, WIDTH),
            f"{block}.attn.out_proj.bias": (WIDTH,),
            f"{block}.mlp.c_fc.weight": (4 * WIDTH, WIDTH),
            f"{block}.mlp.c_fc.bias": (4 * WIDTH,),
            f"{block}.mlp.c_proj.weight": (WIDTH, 4 * WIDTH),
            f"{block}.mlp.c_proj.bias": (WIDTH,),
        }
        for norm in ("ln_1", "ln_2"):
            shapes |= {f"{block}.{norm}.weight": (WIDTH,), f"{block}.{norm}.bias": (WIDTH,)}
    tensors = {key: torch.from_numpy(hashed(key, shape)) for key, shape in shapes.items()}
    return tensors | {"logit_scale": torch.tensor(math.log(1 / 0.07))}
