"""Bits, integers and the entropy coder that every payload shares."""
