"""What networks of DiffBIR's wiring have in common in the diffusion restorer: one evaluation of the U-Net."""

from typing import Generic, TypeVar

import torch

from codec.decode.diffusion.regions import fuse_regions, level_weights
from codec.nets.diffbir.control import SteeredUNet

Network = TypeVar("Network", bound=SteeredUNet)


class Steered(Generic[Network]):
    """A network that stays where it is and of the type it is; its U-Net and control network share one of each."""

    def __init__(self, network: Network) -> None:
        self._network = network
        # The U-Net halves a latent from one level to the next.
        self._levels = len(network.unet.down_blocks)
        first = next(network.unet.parameters())
        self.device, self._dtype = first.device, first.dtype
        fuse_regions(network.unet)
        fuse_regions(network.control)

    def predict(
        self,
        noisy: torch.Tensor,
        times: torch.Tensor,
        texts: torch.Tensor,
        condition: torch.Tensor,
        strength: float = 1.0,
        regions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The U-Net's prediction, steered by the control network; both attend to the texts by their regions."""
        attention = None
        if regions is not None:
            attention = {"regions": level_weights(self._own(regions), self._levels)}
        return self._network.predict(
            self._own(noisy),
            times.to(self.device),
            self._own(texts.flatten(1, 2)),
            self._own(condition),
            strength,
            attention,
        ).float()

    def _own(self, values: torch.Tensor) -> torch.Tensor:
        return values.to(self.device, self._dtype)
