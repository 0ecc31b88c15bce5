"""The payload that names a reference picture beside the stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.bitstream.coarse.external import decode_external, encode_external
from codec.bitstream.stream import ExternalCoarse
from codec.errors import StreamCorrupt, StreamError, StreamTruncated, StreamUnsupported

coarses = st.builds(ExternalCoarse, st.binary(min_size=16, max_size=16), st.integers(0, 2**63 - 1))


@given(coarses)
def test_any_digest_and_declared_bits_come_back(coarse: ExternalCoarse) -> None:
    assert decode_external(encode_external(coarse)) == coarse


def test_ten_kilobits_declared_cost_19_bytes() -> None:
    assert len(encode_external(ExternalCoarse(bytes(16), 10_000))) == 19


@given(coarses)
def test_cut_payload_is_truncated(coarse: ExternalCoarse) -> None:
    payload = encode_external(coarse)
    for length in range(len(payload)):
        with pytest.raises(StreamTruncated):
            decode_external(payload[:length])


def test_bytes_after_the_last_field_are_corrupt() -> None:
    with pytest.raises(StreamCorrupt):
        decode_external(encode_external(ExternalCoarse(bytes(16), 1)) + b"\0")


def test_unknown_flags_are_unsupported() -> None:
    with pytest.raises(StreamUnsupported):
        decode_external(b"\x06" + bytes(17))


@pytest.mark.parametrize("coarse", [ExternalCoarse(b"short", 1), ExternalCoarse(bytes(16), -1)])
def test_fields_that_do_not_fit_cannot_be_encoded(coarse: ExternalCoarse) -> None:
    with pytest.raises(StreamError):
        encode_external(coarse)
