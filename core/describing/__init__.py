"""Paid descriptions: their cache, rate limit, budget and batches, for workers and command alike."""
