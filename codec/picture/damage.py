"""What Pillow and its plugins raise for damaged bytes; no narrower common type exists."""

import struct
import zlib

DAMAGE = (
    OSError,
    SyntaxError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    RuntimeError,
    struct.error,
    zlib.error,
)
