"""Fixtures that more than one ring of tests uses."""

pytest_plugins = ["tests.s3_server.fixture"]
