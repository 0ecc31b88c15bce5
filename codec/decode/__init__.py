"""`.misc` -> picture: unpack, rebuild the coarse picture, restore. Knows nothing of encoding."""
