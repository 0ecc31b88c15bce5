"""The map payload: where each item is."""
