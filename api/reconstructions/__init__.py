"""Pictures restored from a stream."""
