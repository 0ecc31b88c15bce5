"""`python -m migrations`: bring the configured database up to date, with `--wait SECONDS` for one that does not answer
yet; `python -m migrations new "subject"` writes a revision."""

import argparse
import sys
import time

from core.errors import DatabaseUnavailable, ServiceError
from core.logging import configure_logging, get_logger
from core.settings import DatabaseSettings, LogSettings, load
from core.waiting import awaited

_ASK_SECONDS = 1.0


def main(words: list[str]) -> None:
    """Do what the words say; raises ServiceError."""
    parser = argparse.ArgumentParser(prog="python -m migrations", description=__doc__)
    parser.add_argument("--wait", type=float, default=0.0, metavar="SECONDS", help="how long to wait for the database")
    parser.add_argument("subject", nargs="*", metavar="new SUBJECT", help="write a revision with this subject")
    arguments = parser.parse_args(words)
    if arguments.subject and (arguments.subject[0] != "new" or len(arguments.subject) < 2):
        parser.error('to write a revision, say: new "subject"')
    configure_logging(load(LogSettings), "migrations")
    get_logger(__name__).info("starting")
    settings = load(DatabaseSettings)
    if arguments.subject:
        from migrations.upgrade import new_revision

        new_revision(settings, " ".join(arguments.subject[1:]))
    else:
        upgrade_when_there(settings, arguments.wait)


def upgrade_when_there(settings: DatabaseSettings, patience_seconds: float) -> None:
    """Upgrade as soon as the database answers; raises DatabaseUnavailable when it did not for so long."""
    with awaited("its libraries"):
        from migrations.upgrade import upgrade

    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            with awaited("the database, and other migrations of it"):
                upgrade(settings)
            return
        except DatabaseUnavailable as error:
            if time.monotonic() + _ASK_SECONDS > deadline:
                raise
            get_logger(__name__).info("database_awaited", error=str(error))
        time.sleep(_ASK_SECONDS)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ServiceError as error:
        sys.exit(f"migrations: {error}")
