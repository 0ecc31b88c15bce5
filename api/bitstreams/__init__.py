"""Streams that were made elsewhere."""
