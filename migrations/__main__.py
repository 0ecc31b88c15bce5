"""`python -m migrations`: bring the configured database up to date; `python -m migrations new "subject"` writes one."""

import sys

from core.logging import configure_logging
from core.settings import DatabaseSettings, LogSettings
from migrations.upgrade import new_revision, upgrade

configure_logging(LogSettings(), "migrations")
if sys.argv[1:2] == ["new"]:
    new_revision(DatabaseSettings(), " ".join(sys.argv[2:]))
else:
    upgrade(DatabaseSettings())
