"""Index the words of images' names and descriptions, and fill it for those that are there."""

import re
import unicodedata

import sqlalchemy as sa
from alembic import op

revision = "c41f0d7be215"
down_revision = "7d1c5b0e92a4"
branch_labels = None
depends_on = None

_WORD = re.compile(r"[^\W_]+")
_AT_ONCE = 500

_words = sa.table("search_words", sa.column("word", sa.String), sa.column("image_id", sa.String))
_images = sa.table("images", sa.column("id", sa.String), sa.column("name", sa.String))
_descriptions = sa.table("descriptions", sa.column("image_id", sa.String), sa.column("content", sa.JSON))


def upgrade() -> None:
    word = sa.String(length=64).with_variant(sa.String(length=64, collation="C"), "postgresql")
    op.create_table(
        "search_words",
        sa.Column("word", word, nullable=False),
        sa.Column("image_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["image_id"], ["images.id"], name=op.f("fk_search_words_image_id_images"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("word", "image_id", name=op.f("pk_search_words")),
    )
    op.create_index(op.f("ix_search_words_image_id"), "search_words", ["image_id"])
    _fill()


def downgrade() -> None:
    op.drop_table("search_words")


def _fill() -> None:
    """Some images at a time, so that a large archive does not have to fit into memory."""
    connection = op.get_bind()
    query = (
        sa.select(_images.c.id, _images.c.name, _descriptions.c.content)
        .select_from(_images.outerjoin(_descriptions, _descriptions.c.image_id == _images.c.id))
        .order_by(_images.c.id)
        .limit(_AT_ONCE)
    )
    last = ""
    while rows := connection.execute(query.where(_images.c.id > last)).all():
        found = [{"word": word, "image_id": row.id} for row in rows for word in _words_of(row.name, row.content)]
        if found:
            connection.execute(sa.insert(_words), found)
        last = rows[-1].id


def _words_of(name: str, content: object) -> list[str]:
    texts: list[object] = [name]
    if isinstance(content, dict):
        items = [item for item in content.get("items") or [] if isinstance(item, dict)]
        texts += [text for item in items for text in (item.get("name"), item.get("detail"))]
        texts.append(content.get("overall"))
    joined = " ".join(unicodedata.normalize("NFKC", text).casefold() for text in texts if isinstance(text, str))
    return list(dict.fromkeys(word[:64] for word in _WORD.findall(joined)))[:500]
