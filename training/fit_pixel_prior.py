"""Fit codec/bitstream/text/prior.bin: two sets of small networks and the scales of the plain model.

    python -m training.fit_pixel_prior PICTURES OUT.bin [--networks KEPT.pkl]

Takes about half an hour on one core. The shipped file is frozen with format version 1: a new fit is for a new version.
"""

import argparse
import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from codec.bitstream.pixels import plain, prior
from codec.bitstream.pixels.prior import COMPONENTS, OUTPUTS
from training.pixel_features import features, pictures_in, thumbnail, training_thumbnails

# The units of the stored integers, as fractions of the networks' own: see docs/bitstream.md.
_INPUT_UNIT = np.float32(1 / 32)
_FIRST_UNIT, _SECOND_UNIT, _THIRD_UNIT, _SKIP_UNIT = 2**10, 2**12, 2**12, 2**12
_SUM_1_UNIT, _SUM_UNIT = 2**15, 2**20
_GREYS = 8.0
"""Grey levels that an output of 1 moves a curve's centre by, and the scale that an output of 0 stands for."""
_LEAST_SCALE, _MOST_SCALE = -3.2, 2.6

_BATCH = 2048
_THUMBNAILS_AT_ONCE = 100
_LEVELS = (3,) * 12 + (2, 2, 4, 4, 0, 1, 5, 6)
"""Level 3 is the default, so it gets the most practice."""

Network = dict[str, npt.NDArray[Any]]


def fit_networks(thumbnails: list[npt.NDArray[Any]], hidden: tuple[int, int], epochs: float) -> list[Network]:
    """Train the three networks by Adam on the bits that they would spend."""
    generator, chooser = np.random.default_rng(3), random.Random(2)
    inputs = prior.BASE_INPUTS
    networks = [_new_network(generator, inputs + channel, *hidden) for channel in range(3)]
    moments = [{name: np.zeros((2, *w.shape), np.float32) for name, w in net.items()} for net in networks]
    total, done, step = int(len(thumbnails) * epochs), 0, 0
    order = _endless(chooser, len(thumbnails))
    while done < total:
        blocks = [_practice(thumbnails[next(order)], chooser) for _ in range(_THUMBNAILS_AT_ONCE)]
        done += _THUMBNAILS_AT_ONCE
        middles, samples, levels = (np.concatenate([block[i] for block in blocks]) for i in (1, 2, 3))
        shuffled = generator.permutation(len(middles))
        spent = []
        for channel in range(3):
            x = np.concatenate([block[0][channel] for block in blocks]).astype(np.float32)[shuffled] * _INPUT_UNIT
            middle = middles[shuffled, channel].astype(np.float32)
            sample, level = samples[shuffled, channel], levels[shuffled]
            for batch, start in enumerate(range(0, len(x) - _BATCH + 1, _BATCH)):
                part = slice(start, start + _BATCH)
                now = step + batch + 1
                rate = 3e-3 * (0.5 + 0.5 * np.cos(np.pi * min(done / total, 1))) * min(1.0, now / 200) + 1e-5
                slopes, bits = _slopes(networks[channel], x[part], middle[part], sample[part], level[part])
                _adam(networks[channel], moments[channel], slopes, rate, now)
                spent.append(bits)
        step += (len(middles) - _BATCH) // _BATCH + 1
        print(f"{done}/{total} {np.mean(spent):.4f} bits a sample", flush=True)
    return networks


def _endless(chooser: random.Random, count: int) -> Iterator[int]:
    while True:
        order = list(range(count))
        chooser.shuffle(order)
        yield from order


def _practice(
    thumbnail: npt.NDArray[Any], chooser: random.Random
) -> tuple[list[npt.NDArray[Any]], npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """A thumbnail at a random level, now and then mirrored or turned over its diagonal."""
    if chooser.random() < 0.5:
        thumbnail = thumbnail[:, ::-1]
    if chooser.random() < 0.15:
        thumbnail = thumbnail.transpose(1, 0, 2)
    level = chooser.choice(_LEVELS)
    inputs, middles, samples = features(thumbnail >> level, level)
    return inputs, middles, samples, np.full(len(middles), level)


def _new_network(generator: np.random.Generator, inputs: int, first: int, second: int) -> Network:
    weights = {
        "w1": generator.normal(0, (1 / inputs) ** 0.5, (inputs, first)),
        "b1": np.zeros(first),
        "w2": generator.normal(0, (2 / first) ** 0.5, (first, second)),
        "b2": np.zeros(second),
        "w3": generator.normal(0, (0.1 / second) ** 0.5, (second, OUTPUTS)),
        "ws": np.zeros((inputs, OUTPUTS)),
        # Three curves that start a little apart, narrow to wide, so that they do not learn the same thing.
        "b3": np.array([0, 0, 0, -0.3, 0, 0.3, -0.5, 0, 0.7]),
    }
    return {name: values.astype(np.float32) for name, values in weights.items()}


def _slopes(
    net: Network, x: npt.NDArray[Any], middle: npt.NDArray[Any], sample: npt.NDArray[Any], level: npt.NDArray[Any]
) -> tuple[Network, float]:
    """Gradients of the mean bits a sample over a batch, and that mean."""
    hidden_1 = np.maximum(x @ net["w1"] + net["b1"], 0)
    hidden_2 = np.maximum(hidden_1 @ net["w2"] + net["b2"], 0)
    outputs = hidden_2 @ net["w3"] + x @ net["ws"] + net["b3"]
    bits, out = _mixture_bits(outputs, middle, sample, level)
    out = (out / len(x)).astype(np.float32)
    back_2 = (out @ net["w3"].T) * (hidden_2 > 0)
    back_1 = (back_2 @ net["w2"].T) * (hidden_1 > 0)
    slopes = {
        "w3": hidden_2.T @ out,
        "b3": out.sum(0),
        "ws": x.T @ out,
        "w2": hidden_1.T @ back_2,
        "b2": back_2.sum(0),
        "w1": x.T @ back_1,
        "b1": back_1.sum(0),
    }
    return slopes, float(bits.mean())


def _mixture_bits(
    outputs: npt.NDArray[Any], middle: npt.NDArray[Any], sample: npt.NDArray[Any], level: npt.NDArray[Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Bits that a mixture of logistic curves spends on each sample's bin, and their slopes by the outputs."""
    low = ((sample << level) - middle)[:, None].astype(np.float32)
    high = (((sample + 1) << level) - middle)[:, None].astype(np.float32)
    weights = np.exp(outputs[:, :COMPONENTS] - outputs[:, :COMPONENTS].max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    log_scales = outputs[:, 2 * COMPONENTS :]
    scales = _GREYS * np.exp(np.clip(log_scales, _LEAST_SCALE, _MOST_SCALE))
    centres = outputs[:, COMPONENTS : 2 * COMPONENTS] * _GREYS
    above, below = (high - centres) / scales, (low - centres) / scales
    # The outermost bins reach to infinity: nothing is lost outside [0, 255].
    is_last, is_first = (sample == 255 >> level)[:, None], (sample == 0)[:, None]
    up, down = np.where(is_last, 1, _sigmoid(above)), np.where(is_first, 0, _sigmoid(below))
    share = (weights * (up - down)).sum(1, keepdims=True)
    slope = -1 / ((share + 2e-6) * np.log(2))
    up_slope, down_slope = np.where(is_last, 0, up * (1 - up)), np.where(is_first, 0, down * (1 - down))
    in_bounds = (log_scales > _LEAST_SCALE) & (log_scales < _MOST_SCALE)
    slopes = (
        slope * weights * (up - down - share),
        slope * weights * (down_slope - up_slope) / scales * _GREYS,
        slope * weights * (below * down_slope - above * up_slope) * in_bounds,
    )
    return -np.log2(share[:, 0] + 2e-6), np.concatenate(slopes, 1)


def _sigmoid(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    odds: npt.NDArray[Any] = np.exp(-np.clip(values, -40, 40))
    return 1 / (1 + odds)


def _adam(net: Network, moments: Network, slopes: Network, rate: float, step: int) -> None:
    for name, slope in slopes.items():
        mean, square = moments[name]
        mean += 0.1 * (slope - mean)
        square += 0.003 * (slope * slope - square)
        change = rate * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.997**step)) + 1e-6)
        net[name] -= change.astype(np.float32)


def fit_plain_scales(thumbnails: list[npt.NDArray[Any]]) -> bytes:
    """The scale that spends the fewest bits, for every level, channel and bucket of activity of the plain model."""
    scales = np.arange(112)
    chosen = []
    for level in range(8):
        reach = 4 << (8 - level)
        counts = np.zeros((3, 16, 2 * reach + 1))
        for picture in thumbnails:
            for channel, (error, bucket) in enumerate(_plain_errors(picture >> level, 1 << (8 - level))):
                np.add.at(counts[channel], (bucket.ravel(), error.ravel() + reach), 1)
        errors = np.arange(-reach, reach + 1)
        widths = 2.0 ** (scales[:, None] / 8 - 4)
        mass = _sigmoid((errors + 2) / 4 / widths) - _sigmoid((errors - 2) / 4 / widths) + 1 / 33_000
        best = (counts @ -np.log2(mass).T).argmin(2) * (counts.sum(2) > 50)
        # Rare buckets take over their calmer neighbour's scale.
        chosen.append(np.maximum.accumulate(best, 1).astype(np.uint8).tobytes())
    return b"".join(chosen)


def _plain_errors(samples: npt.NDArray[Any], count: int) -> list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Errors in quarters of a bin and buckets of activity for G, R, B, as plain.py finds them."""
    samples = samples.astype(np.int64)[:, :, [1, 0, 2]]
    rows, columns, _ = samples.shape
    padded = np.full((rows + 1, columns + 2, 3), count >> 1, np.int64)
    padded[1:, 1:-1], padded[1:, -1] = samples, samples[:, -1]
    padded[1:, 0] = padded[:-1, 1]
    west, north, corner, east = padded[1:, :-2], padded[:-1, 1:-1], padded[:-1, :-2], padded[:-1, 2:]
    predicted = 3 * (west + north) - 2 * corner
    activity = np.abs(west - corner) + np.abs(north - corner)
    errors: list[npt.NDArray[Any]] = []
    found = []
    for channel in range(3):
        guess, active = predicted[:, :, channel], activity[:, :, channel]
        if channel == 0:
            active = active + np.abs(north - east)[:, :, 0]
        elif channel == 1:
            guess = guess + (plain.GREEN_TO_RED * errors[0] >> 4)
        else:
            guess = guess + (plain.GREEN_TO_BLUE * errors[0] + plain.RED_TO_BLUE * errors[1] >> 4)
        if channel:
            active = active + (np.abs(errors[channel - 1]) >> 2)
        errors.append(4 * samples[:, :, channel] - np.clip(guess, 0, 4 * (count - 1)))
        found.append((errors[channel], np.array(plain.BUCKETS)[active]))
    return found


def write_prior(fine: list[Network], quick: list[Network], plain_scales: bytes) -> bytes:
    """The file's bytes; raises ValueError when a sum of a network could leave its 32-bit lane."""
    out = bytearray()
    for networks in (fine, quick):
        out += np.array([networks[0]["w1"].shape[1], networks[0]["w2"].shape[1]], "<u2").tobytes()
        for net in networks:
            for name, unit in (("w2", _SECOND_UNIT), ("w3", _THIRD_UNIT)):
                if np.abs(net[name] * unit).sum(0).max() * 8191 + np.abs(net["b" + name[1]]).max() * _SUM_UNIT >= 2**31:
                    raise ValueError(f"the sums of {name} do not fit a lane")
            out += _integers(net["w1"], _FIRST_UNIT, "<i2") + _integers(net["ws"], _SKIP_UNIT, "<i2")
            out += _integers(net["b1"], _SUM_1_UNIT, "<i4")
            out += _integers(net["w2"], _SECOND_UNIT, "<i2") + _integers(net["b2"], _SUM_UNIT, "<i4")
            out += _integers(net["w3"], _THIRD_UNIT, "<i2") + _integers(net["b3"], _SUM_UNIT, "<i4")
    edge = prior.SIGMOID_RANGE * prior.SIGMOID_STEPS
    out += _integers(_sigmoid(np.arange(-edge, edge + 1) / prior.SIGMOID_STEPS), 2**22, "<u4")
    out += _integers(np.exp(-np.arange(prior.EXP_SIZE) / 32), 4096, "<u2")
    scales = _GREYS * np.exp(np.arange(-103, -103 + prior.SCALE_SIZE) / 32)
    return bytes(out + _integers(1 / scales, 65_536, "<u4") + plain_scales)


def _integers(values: npt.NDArray[Any], unit: int, kind: str) -> bytes:
    bounds = np.iinfo(kind)
    integers: npt.NDArray[Any] = np.clip(np.rint(values.astype(np.float64) * unit), bounds.min, bounds.max)
    return integers.astype(kind).tobytes()


def _large_thumbnails(folder: Path) -> list[npt.NDArray[Any]]:
    chooser = random.Random(0)
    thumbnails = []
    for path in pictures_in(folder):
        with Image.open(path) as file:
            # Enlarging would teach a smoothness that no photograph has.
            if max(file.size) >= 512:
                thumbnails.append(thumbnail(file, chooser.choice((80, 96, 128, 192, 256))))
            elif chooser.random() < 0.2:
                thumbnails.append(thumbnail(file, chooser.choice((80, 96, 128))))
    return thumbnails


def main() -> None:
    """Fit everything, or only the plain model when the networks are kept from an earlier run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--networks", type=Path, help="pickled networks: used if there, else written")
    arguments = parser.parse_args()
    if arguments.networks and arguments.networks.exists():
        fine, quick = pickle.loads(arguments.networks.read_bytes())
    else:
        thumbnails = training_thumbnails(arguments.pictures, crops=6)
        fine = fit_networks(thumbnails, (96, 80), epochs=2)
        large = [picture for picture in thumbnails if max(picture.shape[:2]) >= 40]
        for path in pictures_in(arguments.pictures):
            with Image.open(path) as file:
                large += [thumbnail(file, 64), thumbnail(file, 52)]
        quick = fit_networks(large, (32, 24), epochs=1.6)
        if arguments.networks:
            arguments.networks.write_bytes(pickle.dumps((fine, quick)))
    scales = fit_plain_scales(_large_thumbnails(arguments.pictures))
    arguments.out.write_bytes(write_prior(fine, quick, scales))


if __name__ == "__main__":
    main()
