"""Learned image codecs with a payload that every machine reads alike; see docs/bitstream-net.md."""
