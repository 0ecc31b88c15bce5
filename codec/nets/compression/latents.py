"""From a latent to a payload and back: which symbols there are, in which order, with which tables.

Encoder and decoder walk through the same code; only the port at which symbols go in or come out differs.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from codec.nets.compression import rans
from codec.nets.compression.fixed_point import LIMIT, UNIT, ExactConvolution, Fixed, Floats, Whole
from codec.nets.compression.tables import Integers, Tables, gaussian_tables, scale_table
from codec.nets.compression.wavefront import ContextModel

HYPER_STRIDE = 4
"""Positions of the latent along an edge of one position of the hyperprior's."""

Samples = npt.NDArray[np.float32]

_NO_HYPER = np.zeros(0, dtype=np.int32)


@dataclass(frozen=True)
class Latents:
    """What a payload holds: `latent` (H, W, M) in units, means included, and the hyperprior's symbols (H', W', N)."""

    latent: Fixed
    hyper_symbols: Fixed

    @property
    def check(self) -> int:
        """CRC-32 of the hyperprior's symbols, then the latent, in row order, 4 bytes each, lowest first."""
        return zlib.crc32(_bytes(self.latent), zlib.crc32(_bytes(self.hyper_symbols)))


@dataclass(frozen=True)
class Analysis:
    """What the encoder wants to store: the latent (H, W, M) and, with a hyperprior, its own (H', W', N)."""

    latent: Samples
    hyper: Samples | None = None


class SymbolPort(Protocol):
    """Where symbols go into a payload or come out of one."""

    def exchange(self, tables: Tables, indexes: Integers, wanted: Samples | Floats | None) -> Integers:
        """The next symbols (n, C) by the tables of `indexes` (n, C); when writing, those nearest to `wanted`."""


class LatentCoder(Protocol):
    """The entropy model of an architecture."""

    def walk(self, rows: int, columns: int, port: SymbolPort, wanted: Analysis | None) -> Latents:
        """All symbols of a latent of rows x columns through the port; `wanted` is None when reading."""


def write_latents(coder: LatentCoder, wanted: Analysis) -> tuple[bytes, Latents]:
    """The payload, and the latents exactly as a decoder will have them."""
    port = _Writer(rans.Encoder())
    rows, columns = wanted.latent.shape[:2]
    latents = coder.walk(rows, columns, port, wanted)
    return port.encoder.finish(latents.check), latents


def read_latents(coder: LatentCoder, payload: bytes, rows: int, columns: int) -> Latents:
    """The inverse of `write_latents`; raises StreamTruncated and StreamCorrupt."""
    port = _Reader(rans.Decoder(payload))
    latents = coder.walk(rows, columns, port, None)
    port.decoder.finish(latents.check)
    return latents


@dataclass(frozen=True)
class FactorizedCoder:
    """Every channel has one learned distribution: `tables` (C) around `medians` (C,) in units."""

    tables: Tables
    medians: Fixed

    def walk(self, rows: int, columns: int, port: SymbolPort, wanted: Analysis | None) -> Latents:
        """See LatentCoder."""
        symbols = self.symbols(rows, columns, port, None if wanted is None else wanted.latent)
        return Latents(self.values(symbols), _NO_HYPER)

    def symbols(self, rows: int, columns: int, port: SymbolPort, wanted: Samples | Floats | None) -> Fixed:
        """(H, W, C) symbols, row by row."""
        channels = len(self.medians)
        indexes = np.broadcast_to(np.arange(channels), (columns, channels))
        symbols = np.empty((rows, columns, channels), dtype=np.int32)
        for row in range(rows):
            target = None if wanted is None else wanted[row] - self.medians / UNIT
            symbols[row] = port.exchange(self.tables, indexes, target)
        return symbols

    def values(self, symbols: Fixed) -> Fixed:
        """Symbols as values in units."""
        return np.clip(symbols * np.int64(UNIT) + self.medians, -LIMIT, LIMIT).astype(np.int32)


@dataclass(frozen=True)
class HyperpriorCoder:
    """A hyperprior says each latent value's scale, and its mean where `has_means`; a context model may refine both.

    `synthesis` are the layers from the hyperprior's values to M scales, then M means.
    """

    hyper: FactorizedCoder
    synthesis: Sequence[ExactConvolution]
    has_means: bool
    context: ContextModel | None = None

    def walk(self, rows: int, columns: int, port: SymbolPort, wanted: Analysis | None) -> Latents:
        """See LatentCoder."""
        hyper_symbols = self.hyper.symbols(
            -(-rows // HYPER_STRIDE), -(-columns // HYPER_STRIDE), port, None if wanted is None else wanted.hyper
        )
        values = self.hyper.values(hyper_symbols)
        for layer in self.synthesis:
            values = layer(values)
        values = values[:rows, :columns]

        def settle(on_rows: Integers, on_columns: Integers, scales: Whole, means: Whole | None) -> Integers:
            target = None
            if wanted is not None:
                target = wanted.latent[on_rows, on_columns]
                target = target if means is None else target - means / UNIT
            return port.exchange(gaussian_tables(), table_indexes(scales), target)

        if self.context is not None:
            return Latents(self.context.run(values, settle), hyper_symbols)
        return Latents(self._row_by_row(values, settle), hyper_symbols)

    def _row_by_row(
        self, values: Fixed, settle: Callable[[Integers, Integers, Whole, Whole | None], Integers]
    ) -> Fixed:
        rows, columns, outputs = values.shape
        channels = outputs // 2 if self.has_means else outputs
        latent = np.empty((rows, columns, channels), dtype=np.int32)
        on_columns = np.arange(columns)
        for row in range(rows):
            means = values[row, :, channels:] if self.has_means else None
            symbols = settle(np.full(columns, row), on_columns, values[row, :, :channels], means)
            settled = symbols * UNIT if means is None else symbols * UNIT + means
            latent[row] = np.clip(settled, -LIMIT, LIMIT)
        return latent


def table_indexes(scales: Whole) -> Integers:
    """The Gaussian table nearest to each scale, in units, by comparison with whole numbers."""
    return np.searchsorted(_thresholds(), scales)


@lru_cache(maxsize=1)
def _thresholds() -> Floats:
    """(63,) where one table's share of scales ends, in units: at the geometric mean with the next."""
    scales = scale_table()
    thresholds: Floats = np.floor(np.sqrt(scales[:-1] * scales[1:]) * UNIT)
    return thresholds


def _bytes(values: Fixed) -> memoryview:
    return np.ascontiguousarray(values, dtype="<i4").data.cast("B") if values.size else memoryview(b"")


@dataclass(frozen=True)
class _Writer:
    encoder: rans.Encoder

    def exchange(self, tables: Tables, indexes: Integers, wanted: Samples | Floats | None) -> Integers:
        assert wanted is not None, "a writer has an analysis to write"
        symbols = np.clip(np.rint(wanted), -rans.VALUE_LIMIT, rans.VALUE_LIMIT).astype(np.int64)
        self.encoder.encode(tables, indexes.ravel(), symbols.ravel())
        return symbols


@dataclass(frozen=True)
class _Reader:
    decoder: rans.Decoder

    def exchange(self, tables: Tables, indexes: Integers, wanted: Samples | Floats | None) -> Integers:
        return self.decoder.decode(tables, indexes.ravel()).reshape(indexes.shape)
