"""Fixtures that more than one ring of tests uses."""

import os
from collections.abc import Iterator

import pytest
import structlog

pytest_plugins = ["tests.s3_server.fixture"]

# Most tests that start workers restore nothing, or encode first: they need not wait for networks.
os.environ.setdefault("MISC_WORKER_WARM_UP", "beside")


@pytest.fixture(autouse=True)
def logging_of_one_test() -> Iterator[None]:
    """Undo what a test set up for its log: a command run inside of a test sets one for its whole process."""
    yield
    structlog.reset_defaults()
