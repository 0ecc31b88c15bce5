"""Name and version of this program."""

from importlib.metadata import PackageNotFoundError, version


def software() -> str:
    """Name and version, as metadata of pictures and `misc --version` give them."""
    try:
        return f"misc-archive {version('misc-archive')}"
    except PackageNotFoundError:
        return "misc-archive"
