"""The seeds of noise: where they come from when nobody gives one, and how samples of one stream follow each other."""

_BELOW = 2**63


def seed_of(stream_sha256: str) -> int:
    """The seed of a stream's noise, in [0, 2**63): the first 63 bits of the file's SHA-256, in hexadecimal."""
    return int(stream_sha256[:16], 16) >> 1


def sample_seed(first: int, sample: int) -> int:
    """The seed of a sample, counted from 0, of those that begin at `first`."""
    return (first + sample) % _BELOW
