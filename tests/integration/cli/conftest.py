"""The runner of the command's unit tests serves these too."""

from tests.unit.cli.conftest import misc

__all__ = ["misc"]
