"""What a caller may ask of an encode or a decode: one definition for the API, the command line and the workers.

Field names are the `misc` flags with underscores. Unknown names and values out of bounds are refused.
"""

from codec.options.choices import (
    ColourFix,
    DecodeStage,
    Describer,
    MaskEdges,
    Mode,
    Profile,
    ReferenceCodec,
    RestorerName,
    Schedule,
    Solver,
)
from codec.options.decode import DecodeOptions
from codec.options.encode import RATE_BUDGETS, EncodeOptions, GivenDescription, GivenItem, check_mode_of_options
from codec.options.fields import parse_options

__all__ = [
    "RATE_BUDGETS",
    "ColourFix",
    "DecodeOptions",
    "DecodeStage",
    "Describer",
    "EncodeOptions",
    "GivenDescription",
    "GivenItem",
    "MaskEdges",
    "Mode",
    "Profile",
    "ReferenceCodec",
    "RestorerName",
    "Schedule",
    "Solver",
    "check_mode_of_options",
    "parse_options",
]
