"""`python -m migrations`: bring the configured database up to date, with `--wait SECONDS` for one that does not answer
yet; `python -m migrations new "subject"` writes a revision, `python -m migrations partition` partitions PostgreSQL's
largest table (docs/capacity.md)."""

import argparse
import sys
import time

from core.errors import DatabaseUnavailable, ServiceError
from core.logging import configure_logging, get_logger
from core.settings import DatabaseSettings, LogSettings, load
from core.waiting import awaited

_ASK_SECONDS = 1.0

_PARTS = 32
"""With 10^8 images some 10^8 rows each."""


def main(words: list[str]) -> None:
    """Do what the words say; raises ServiceError."""
    parser = argparse.ArgumentParser(prog="python -m migrations", description=__doc__)
    parser.add_argument("--wait", type=float, default=0.0, metavar="SECONDS", help="how long to wait for the database")
    parser.add_argument("--parts", type=int, default=_PARTS, metavar="N", help="of the partitioned table")
    parser.add_argument("words", nargs="*", metavar="new SUBJECT | partition", help="what else to do")
    arguments = parser.parse_args(words)
    do, subject = arguments.words[:1], " ".join(arguments.words[1:])
    if do not in ([], ["new"], ["partition"]) or (do == ["new"]) != bool(subject):
        parser.error('to write a revision, say: new "subject"; to partition: partition')
    configure_logging(load(LogSettings), "migrations")
    get_logger(__name__).info("starting")
    settings = load(DatabaseSettings)
    if do == ["new"]:
        from migrations.upgrade import new_revision

        new_revision(settings, subject)
    elif do == ["partition"]:
        from migrations.partition import partition

        with awaited("the words of images to be partitioned"):
            rows = partition(settings, arguments.parts)
        get_logger(__name__).info("words_partitioned", rows=rows, parts=arguments.parts)
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
