"""A learned codec with its weights: pictures to payloads and back. How it is loaded from a file is not its concern."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from codec.bitstream.stream import NetCoarse
from codec.errors import StreamLimitExceeded
from codec.limits import MAX_PIXELS
from codec.nets.compression.architectures import Codec, build_codec
from codec.nets.compression.checkpoint_layouts import plain_state
from codec.nets.compression.fixed_point import UNIT
from codec.nets.compression.latents import Analysis, Latents, read_latents, write_latents
from codec.nets.compression.tiles import STRIDE, Span, tile_spans
from codec.picture.resize import reduce_by

DIGEST_BYTES = 4

Samples = npt.NDArray[np.uint8]
Picture = npt.NDArray[np.float32]


def load_network(architecture: str, state: Mapping[str, Any], digest: bytes, scale: int = 1) -> "LearnedCodec":
    """The codec named `architecture` with the weights of a checkpoint, in any of the published layouts.

    `digest` is the SHA-256 of the weights' file or its beginning, `scale` what the codec is made for. Raises
    FeatureUnavailable for architectures that are not known here and WeightsCorrupt where the weights are not the
    architecture's.
    """
    return LearnedCodec(build_codec(architecture, plain_state(state)), digest[:DIGEST_BYTES], scale)


class LearnedCodec:
    """Compresses RGB pictures of any size. Safe to use from several threads: it keeps nothing between calls."""

    def __init__(self, codec: Codec, digest: bytes, scale: int = 1) -> None:
        self._codec, self._digest, self._scale = codec, digest, scale

    @property
    def digest(self) -> bytes:
        """The first 4 bytes of the SHA-256 of the weights' file."""
        return self._digest

    def compress(self, picture: Image.Image, scale: int | None = None) -> NetCoarse:
        """The RGB picture, reduced by `scale` first; None stands for the scale that the codec is made for."""
        scale = scale or self._scale
        payload, _ = self.write(self.analyse(np.asarray(reduce_by(picture, scale))))
        return NetCoarse(scale, payload)

    def decompress(self, coarse: NetCoarse, width: int, height: int) -> Image.Image:
        """The reduced picture, RGB, of the size ceil(width / scale) x ceil(height / scale) for the original's size.

        Raises StreamTruncated and StreamCorrupt when the payload is damaged or was made by another network.
        """
        if width * height > MAX_PIXELS:
            raise StreamLimitExceeded(f"A picture of {width}x{height} exceeds the limit of {MAX_PIXELS} pixels.")
        width, height = -(-width // coarse.scale), -(-height // coarse.scale)
        latents = self.read(coarse.payload, width, height)
        samples = np.empty((height, width, 3), dtype=np.uint8)
        for top, left, tile in self._tiles_of(latents, width, height):
            samples[top : top + tile.shape[0], left : left + tile.shape[1]] = tile.mul_(255.0).round_().numpy()
        return Image.fromarray(samples)

    def analyse(self, samples: Samples) -> Analysis:
        """What is to be stored of a picture (H, W, 3); its last row and column are repeated up to a multiple of 16."""
        rows, columns = _positions(samples.shape[0]), _positions(samples.shape[1])
        latent: Tensor | None = None
        with torch.inference_mode():
            for down, across in tile_spans(rows, columns, width=self._codec.width, reach=self._codec.analysis_reach):
                tile = self._codec.analysis(_input(samples, down, across))
                inner = tile[0, :, _inside(down), _inside(across)]
                if latent is None:
                    latent = torch.empty(inner.shape[0], rows, columns)
                latent[:, down.start : down.end, across.start : across.end] = inner
            assert latent is not None, "there is at least one tile"
            # Weights that overflow must not make symbols of values that are no numbers.
            latent.nan_to_num_()
            if self._codec.hyper_analysis is None:
                return Analysis(_channels_last(latent))
            hyper = self._codec.hyper_analysis((latent.abs() if self._codec.takes_magnitudes else latent)[None])[0]
            return Analysis(_channels_last(latent), _channels_last(hyper.nan_to_num_()))

    def write(self, wanted: Analysis) -> tuple[bytes, Latents]:
        """The payload, and the latents exactly as every decoder will have them."""
        return write_latents(self._codec.coder, wanted)

    def read(self, payload: bytes, width: int, height: int) -> Latents:
        """The latents of a picture of width x height; raises StreamTruncated and StreamCorrupt."""
        return read_latents(self._codec.coder, payload, _positions(height), _positions(width))

    def synthesise(self, latents: Latents, width: int, height: int) -> Picture:
        """The picture x_hat of width x height that latents stand for, (H, W, 3) in [0, 1]."""
        picture = np.empty((height, width, 3), dtype=np.float32)
        for top, left, tile in self._tiles_of(latents, width, height):
            picture[top : top + tile.shape[0], left : left + tile.shape[1]] = tile.numpy()
        return picture

    def _tiles_of(self, latents: Latents, width: int, height: int) -> Iterator[tuple[int, int, Tensor]]:
        """Top, left and (H', W', 3) in [0, 1] of every tile of the picture."""
        rows, columns = latents.latent.shape[:2]
        for down, across in tile_spans(rows, columns, width=self._codec.width, reach=self._codec.synthesis_reach):
            part = latents.latent[down.outer_start : down.outer_end, across.outer_start : across.outer_end]
            with torch.inference_mode():
                values = torch.from_numpy(part.astype(np.float32)).mul_(1.0 / UNIT).permute(2, 0, 1)[None]
                whole = self._codec.synthesis(values.contiguous())[0].permute(1, 2, 0)
                bottom, right = min(height, down.end * STRIDE), min(width, across.end * STRIDE)
                top, left = down.start * STRIDE, across.start * STRIDE
                over, before = down.outer_start * STRIDE, across.outer_start * STRIDE
                yield top, left, whole[top - over : bottom - over, left - before : right - before].clamp(0.0, 1.0)


def _positions(pixels: int) -> int:
    return -(-pixels // STRIDE)


def _inside(span: Span) -> slice:
    return slice(span.start - span.outer_start, span.end - span.outer_start)


def _input(samples: Samples, down: Span, across: Span) -> Tensor:
    """(1, 3, H, W) in [0, 1] of a tile's pixels, the picture's last ones repeated beyond its end."""
    rows = np.minimum(np.arange(down.outer_start * STRIDE, down.outer_end * STRIDE), samples.shape[0] - 1)
    columns = np.minimum(np.arange(across.outer_start * STRIDE, across.outer_end * STRIDE), samples.shape[1] - 1)
    tile = torch.from_numpy(samples[rows[:, None], columns]).permute(2, 0, 1).contiguous()
    return tile.float().div_(255.0)[None]


def _channels_last(values: Tensor) -> Picture:
    return np.ascontiguousarray(values.permute(1, 2, 0).numpy())
