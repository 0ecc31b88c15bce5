"""Weights into memory: checkpoint files read safely, keys carried over, networks kept by key. Knows no network."""
