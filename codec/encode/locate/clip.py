"""Finds named things in a picture by CLIP Surgery. What becomes of the maps is not decided here."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from codec.encode.locate.masks import SimilarityMap
from codec.nets.clip.prompts import PROMPT_TEMPLATES
from codec.nets.clip.surgery import CLIPSurgery, ensemble_feature, feature_surgery, similarity_maps
from codec.nets.clip.tokenizer import clip_tokenizer
from codec.nets.clip.weights import load_clip

_MEAN = np.array([0.48145466, 0.4578275, 0.40821073], dtype=np.float32)
_DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711], dtype=np.float32)
"""Of the channels of CLIP's training pictures (openai/CLIP `clip.py`)."""

_MAX_MAP_SIDE_PX = 2_048
"""Maps of larger pictures are made at this size: they hold 14x14 numbers, and become 16x16 bits at most."""

_REMEMBERED_NAMES = 4_096
"""2 KB each. Archives name the same things again and again, and texts cost more time than the picture."""


class CLIPLocator:
    """Maps of names in pictures, as the published MISC makes them.

    The picture is squashed to the network's square without cropping; a name is asked for in 85 prompts; the feature
    of the empty text is subtracted. One forward pass runs at a time, so encode threads may share a locator.
    """

    def __init__(self, surgery: CLIPSurgery, device: torch.device | str = "cpu") -> None:
        self._surgery, self._device = surgery, device
        self._tokenizer = clip_tokenizer()
        self._features: OrderedDict[str, torch.Tensor] = OrderedDict()
        self._redundant: torch.Tensor | None = None
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls, weights: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> "CLIPLocator":
        """A locator with the CLIP of that file or folder; raises WeightsMissing and WeightsCorrupt.

        float32 is the published precision and costs a GPU milliseconds; on a CPU halves are slower.
        """
        clip = load_clip(weights)
        clip.to(device=device, dtype=dtype)
        return cls(CLIPSurgery(clip), device)

    def locate(self, picture: Image.Image, names: Sequence[str]) -> list[SimilarityMap]:
        """One map of 8 bits for each name, of the picture's shape, or reduced in proportion to 2,048 along its longer
        side. An empty name, or one that CLIP finds nowhere more than elsewhere, gives a map of zeros."""
        if not names:
            return []
        pixels = self._pixels(picture).to(self._device)
        with self._lock:
            texts = torch.stack([self._feature(name) for name in names])
            if self._redundant is None:
                self._redundant = self._compute_feature("")
            similarity = feature_surgery(self._surgery.image_tokens(pixels), texts, self._redundant)
        scale = min(1.0, _MAX_MAP_SIDE_PX / max(picture.size))
        width, height = (max(1, round(side * scale)) for side in picture.size)
        maps = similarity_maps(similarity[:, 1:].cpu(), height, width)[0]
        return list((maps * 255).to(torch.uint8).numpy())

    def _pixels(self, picture: Image.Image) -> torch.Tensor:
        """(1, 3, S, S) float32, normalised."""
        side = self._surgery.resolution_px
        squashed = picture.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        values = (np.asarray(squashed, dtype=np.float32) / 255 - _MEAN) / _DEVIATION
        return torch.from_numpy(values).permute(2, 0, 1)[None]

    def _feature(self, name: str) -> torch.Tensor:
        """The name's ensemble feature (D,), remembered; the lock must be held."""
        if name not in self._features:
            self._features[name] = self._compute_feature(name)
            if len(self._features) > _REMEMBERED_NAMES:
                self._features.popitem(last=False)
        self._features.move_to_end(name)
        return self._features[name]

    def _compute_feature(self, name: str) -> torch.Tensor:
        prompts = self._tokenizer.encode(
            [template.format(name) for template in PROMPT_TEMPLATES], self._surgery.context_length
        )
        return ensemble_feature(self._surgery.text_features(prompts))
