"""The tiny networks, watched: what they were asked, and a memory that can be too small."""

from collections.abc import Mapping, Sequence

import torch
from tiny_networks import tiny_networks

from codec.decode.diffusion.networks import Networks, Stage


class WatchedNetworks:
    """Passes everything on. Calls on `too_large_px` pixels or more find no memory, which `complaint` says."""

    def __init__(self, *, bytes_per_px: Mapping[Stage, float] | None = None) -> None:
        self._networks: Networks = tiny_networks()
        self.too_large_px = float("inf")
        self.complaint: Exception = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        self.bytes_per_px = bytes_per_px or self._networks.bytes_per_px
        self.calls: list[tuple[Stage, tuple[int, ...]]] = []
        self.strengths: list[float] = []
        self.texts: list[str] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._networks, name)

    def shapes(self, stage: Stage) -> list[tuple[int, ...]]:
        """The shapes of what this stage's calls were handed."""
        return [shape for called, shape in self.calls if called is stage]

    def embed(self, texts: Sequence[str]) -> torch.Tensor:
        self.texts += texts
        return self._networks.embed(texts)

    def clean(self, picture: torch.Tensor) -> torch.Tensor:
        self._note(Stage.CLEAN, picture, 1)
        return self._networks.clean(picture)

    def encode(self, picture: torch.Tensor) -> torch.Tensor:
        self._note(Stage.ENCODE, picture, 1)
        return self._networks.encode(picture)

    def predict(
        self,
        noisy: torch.Tensor,
        times: torch.Tensor,
        texts: torch.Tensor,
        condition: torch.Tensor,
        strength: float = 1.0,
        regions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        self._note(Stage.DIFFUSE, noisy, 8)
        self.strengths.append(strength)
        return self._networks.predict(noisy, times, texts, condition, strength, regions)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        self._note(Stage.DECODE, latents, 8)
        return self._networks.decode(latents)

    def _note(self, stage: Stage, values: torch.Tensor, unit: int) -> None:
        if values[:, 0].numel() * unit**2 >= self.too_large_px:
            raise self.complaint
        self.calls.append((stage, tuple(values.shape)))
