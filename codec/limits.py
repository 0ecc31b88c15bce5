"""Every size that is checked before memory is taken. Part of the format's contract; see docs/bitstream.md."""

MAX_PIXELS = 100_000_000
"""Width x height of a picture; about 300 MB as 8-bit RGB."""

MAX_SIDE_PX = 65_535
"""Longest side of a picture."""

MAX_STREAM_BYTES = 16 * 1024 * 1024
"""A whole `.misc` file. Far above any sensible stream, far below what harms a worker."""

MAX_ITEMS = 3
"""Items that a description may have (MISC, section III-A)."""

MAX_TEXT_CHARS = 4_000
"""Unicode characters in one text of a description."""

MAX_TEXTS_CHARS = 5_000
"""Unicode characters in all texts of one stream together; bounds the time of text decoding."""

MAX_NAME_WORDS, MAX_DETAIL_WORDS = 3, 10
"""Limits that model answers are trimmed to; texts given by people are kept exactly."""

MIN_MAP_EDGE, MAX_MAP_EDGE = 4, 16
"""Blocks along an edge of an item's map."""

MAX_BLOCKS = 256
"""Pixel blocks along the long edge of a pixel-mode thumbnail."""

MAX_REFERENCE_BYTES = 8 * 1024 * 1024
"""Payload of a reference codec."""

MAX_NET_BYTES = 15 * 1024 * 1024
"""Payload of a learned codec."""
