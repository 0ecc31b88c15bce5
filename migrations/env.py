"""Called by Alembic for each command; the connection comes from `migrations.upgrade`."""

from typing import Any, Literal

from alembic import context

import models


def _render(kind: str, value: Any, _context: Any) -> str | Literal[False]:
    """Write timestamps as the plain type, so that a revision does not depend on today's table classes."""
    if kind == "type" and isinstance(value, models.base.UTCDateTime):
        return "sa.DateTime(timezone=True)"
    return False


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=models.Base.metadata,
    # SQLite cannot alter most things in place.
    render_as_batch=connection.dialect.name == "sqlite",
    compare_type=True,
    render_item=_render,
)
with context.begin_transaction():
    context.run_migrations()
