"""Benchmarks: each `python -m bench.<name>` prints a table and can write its figures as JSON."""
