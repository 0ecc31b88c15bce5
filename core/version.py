"""The version of the service, as it tells of itself."""

from importlib.metadata import PackageNotFoundError, version


def service_version() -> str:
    """The version that is installed; "0" for a plain checkout."""
    try:
        return version("misc-archive")
    except PackageNotFoundError:
        return "0"
