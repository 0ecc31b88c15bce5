"""The words by which images are found: of their names and descriptions."""

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import ID_LENGTH, Base

WORD_LENGTH = 64
"""Longer words are cut: nobody types so much of one, and an index wants bounded keys."""


class SearchWord(Base):
    """One row for each word of an image, in lower case.

    Rows of one kind for both databases instead of each one's full-text index. The order of code points lets the key
    find all words with a prefix; PostgreSQL's default order would not.
    """

    __tablename__ = "search_words"

    word: Mapped[str] = mapped_column(
        String(WORD_LENGTH).with_variant(String(WORD_LENGTH, collation="C"), "postgresql"), primary_key=True
    )
    image_id: Mapped[str] = mapped_column(
        String(ID_LENGTH), ForeignKey("images.id", ondelete="CASCADE"), primary_key=True, index=True
    )
