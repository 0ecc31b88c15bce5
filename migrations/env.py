"""Called by Alembic for each command; the connection comes from `migrations.upgrade`."""

from typing import Any, Literal

from alembic import context

import models
from migrations.partition import PREFIX


def _render(kind: str, value: Any, _context: Any) -> str | Literal[False]:
    """Write timestamps as the plain type, so that a revision does not depend on today's table classes."""
    if kind == "type" and isinstance(value, models.base.UTCDateTime):
        return "sa.DateTime(timezone=True)"
    return False


def _is_ours(name: str | None, kind: str, _parents: Any) -> bool:
    """Parts of a table are not tables of their own."""
    return kind != "table" or name is None or not name.startswith(PREFIX)


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=models.Base.metadata,
    # SQLite cannot alter most things in place.
    render_as_batch=connection.dialect.name == "sqlite",
    compare_type=True,
    render_item=_render,
    include_name=_is_ours,
)
with context.begin_transaction():
    context.run_migrations()
