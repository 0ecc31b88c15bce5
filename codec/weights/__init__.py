"""Weights: what they are, where they lie, whether their digests hold. Knows files and digests, no networks."""
