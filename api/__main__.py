"""`python -m api`: serves the interface until a signal says stop. Tells that it starts before it loads what takes
seconds to load."""

import sys

from core.errors import SettingsInvalid
from core.logging import configure_logging, get_logger
from core.settings import LogSettings, load
from core.waiting import awaited


def main() -> int:
    """Serve; returns 2 when the settings do not allow it."""
    try:
        configure_logging(load(LogSettings), "api")
    except SettingsInvalid as error:
        get_logger(__name__).error("not_started", error=str(error))
        return 2
    get_logger(__name__).info("starting")
    with awaited("its libraries"):
        from api.server import serve
    return serve()


if __name__ == "__main__":
    sys.exit(main())
