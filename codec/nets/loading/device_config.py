"""Where networks run, and in which precision: the caller's wishes as words. Importing it costs nothing."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from codec.errors import FeatureUnavailable

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class DeviceConfig:
    """`device`: "auto", "cpu", "cuda" or "cuda:1"; `dtype`: "auto", "float32" or "bfloat16".

    "auto" takes a GPU where there is one, and bfloat16 on a GPU that computes in it; on a CPU it is slower than
    float32 and less exact. `is_compiled` compiles the denoising networks: minutes for every new
    size of tile, then faster steps. `is_graphed`: a GPU replays denoising calls as graphs, one for each size.
    """

    device: str = "auto"
    dtype: str = "auto"
    is_compiled: bool = False
    is_graphed: bool = False

    def resolve(self) -> "tuple[torch.device, torch.dtype]":
        """The same for PyTorch; raises FeatureUnavailable for a GPU that is not there."""
        import torch

        count = torch.cuda.device_count()
        device = torch.device(("cuda" if count else "cpu") if self.device == "auto" else self.device)
        if device.type == "cuda" and (device.index or 0) >= count:
            raise FeatureUnavailable(
                f"The device {self.device} is not there: PyTorch sees {count} GPUs. Set MISC_NETWORK_DEVICE to auto or "
                "cpu, or see that the process has the GPU and PyTorch is built for it."
            )
        if self.dtype != "auto":
            return device, {"float32": torch.float32, "bfloat16": torch.bfloat16}[self.dtype]
        computes_in_halves = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return device, torch.bfloat16 if computes_in_halves else torch.float32


def multiplies_bfloat16(device: "torch.device") -> bool:
    """Whether convolutions on the device gain by bfloat16; a processor that only imitates it takes longer."""
    import torch

    return device.type == "cuda" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def library_missing(error: ImportError) -> FeatureUnavailable:
    """The error to raise where a library that restoring by networks needs is not installed."""
    return FeatureUnavailable(
        f"Restoring by networks needs PyTorch, diffusers and transformers ({error.name} is missing): "
        "pip install 'misc-archive[nets]'."
    )
