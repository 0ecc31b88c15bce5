"""Addresses that are told of what ends."""
