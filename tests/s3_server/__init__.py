"""A real S3 server for tests: OpenStack Swift from the Python package index, in one process on loopback."""
