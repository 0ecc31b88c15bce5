"""Pictures painted again from a stream."""
