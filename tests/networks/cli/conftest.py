"""The runner and the photo of the command's unit tests serve these too."""

from tests.unit.cli.conftest import misc, photo

__all__ = ["misc", "photo"]
