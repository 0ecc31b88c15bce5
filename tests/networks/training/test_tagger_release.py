"""Putting the tagger into the package: the wire format of its sources, and batch norms folded into convolutions."""

import struct

import numpy as np
import pytest
import torch
from torch import nn

from training.protobuf import fields, integers, messages, text
from training.tagger_release import _constants, _folded, saliency_tensors


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return bytes([number << 3]) + varint(value)
    return bytes([number << 3 | 2]) + varint(len(value)) + value


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def test_fields_are_read_in_order() -> None:
    message = memoryview(field(1, 300) + field(2, b"abc") + bytes([3 << 3 | 5]) + struct.pack("<f", 1.5) + field(1, 7))

    assert [(number, value if isinstance(value, int) else bytes(value)) for number, value in fields(message)] == [
        (1, 300), (2, b"abc"), (3, struct.pack("<f", 1.5)), (1, 7),
    ]  # fmt: skip
    assert integers(message, 1) == [300, 7]
    assert text(message, 2) == "abc" and text(message, 9) == ""
    assert messages(message, 9) == []


@pytest.mark.parametrize("cut", [b"\x08", b"\x12\x05ab", b"\x0b"])
def test_what_is_cut_off_or_of_no_known_kind_is_refused(cut: bytes) -> None:
    with pytest.raises(ValueError, match=r"cut off|beyond|unknown kind"):
        list(fields(memoryview(cut)))


def test_constants_of_a_graph_are_its_float_tensors_by_name() -> None:
    values = np.arange(6, dtype="<f4")
    shape = field(2, field(1, 2)) + field(2, field(1, 3))
    tensor = field(1, 1) + field(2, shape) + field(4, values.tobytes())
    whole_number = field(1, 3) + field(4, b"\0\0\0\0")
    graph = b"".join(
        field(1, field(1, name) + field(2, kind) + field(5, field(1, b"value") + field(2, field(8, content))))
        for name, kind, content in ((b"a/weights", b"Const", tensor), (b"b", b"Const", whole_number))
    )
    graph += field(1, field(1, b"c") + field(2, b"Conv2D"))

    found = _constants(memoryview(graph))
    assert list(found) == ["a/weights"]
    assert found["a/weights"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_folded_convolution_does_what_convolution_and_batch_norm_do() -> None:
    torch.manual_seed(1)
    convolution, norm = nn.Conv2d(3, 5, 3, bias=False), nn.BatchNorm2d(5, eps=1e-3).eval()
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        assert tensor is not None
        tensor.data = torch.rand(5) + 0.5
    x = torch.rand(1, 3, 8, 8)
    assert norm.running_mean is not None and norm.running_var is not None
    weight, bias = _folded(convolution.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var)

    torch.testing.assert_close(nn.functional.conv2d(x, weight, bias), norm(convolution(x)), rtol=1e-4, atol=1e-5)


def test_model_with_other_convolutions_is_refused() -> None:
    with pytest.raises(ValueError, match="0 convolutions, not 119"):
        saliency_tensors(field(7, b""))
