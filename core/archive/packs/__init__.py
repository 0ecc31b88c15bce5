"""Packs: many small streams and records as one object, so that a hundred million of them are no bill and no wait."""
