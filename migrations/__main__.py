"""`python -m migrations`: bring the configured database up to date; `python -m migrations new "subject"` writes one."""

import sys

from core.errors import ServiceError
from core.logging import configure_logging
from core.settings import DatabaseSettings, LogSettings, load
from migrations.upgrade import new_revision, upgrade

try:
    configure_logging(load(LogSettings), "migrations")
    if sys.argv[1:2] == ["new"]:
        new_revision(load(DatabaseSettings), " ".join(sys.argv[2:]))
    else:
        upgrade(load(DatabaseSettings))
except ServiceError as error:
    sys.exit(f"migrations: {error}")
