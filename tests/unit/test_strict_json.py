from typing import Any

import pytest

from codec.errors import OptionError
from codec.options import DecodeOptions, EncodeOptions, parse_options


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (EncodeOptions, {"mode": "pixel", "level": True}),
        (EncodeOptions, {"mode": "pixel", "level": "3"}),
        (EncodeOptions, {"mode": "pixel", "level": 3.5}),
        (EncodeOptions, {"mode": "ref", "max_bpp": True}),
        (EncodeOptions, {"mode": "ref", "max_bpp": "0.05"}),
        (EncodeOptions, {"maps": "false"}),
        (EncodeOptions, {"maps": 0}),
        (DecodeOptions, {"steps": False}),
        (DecodeOptions, {"guidance": "7"}),
    ],
)
def test_what_the_schema_forbids_is_no_value(kind: type[Any], values: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=list(values)[-1]):
        parse_options(kind, values)


def test_whole_numbers_may_have_a_point() -> None:
    assert parse_options(EncodeOptions, {"mode": "pixel", "level": 3.0}).level == 3
    assert parse_options(EncodeOptions, {"mode": "ref", "max_bpp": 1}).max_bpp == 1.0
