"""Faults by plan against the whole service at full size: `python -m bench.chaos`."""
