"""Picture -> `.misc`: describe, locate, coarse, pack. Knows nothing of decoding."""
