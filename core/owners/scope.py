"""What a key is good for."""

from enum import StrEnum


class Scope(StrEnum):
    """What a key is good for."""

    READ = "read"
    """Look at, and fetch, what is the owner's."""
    SUBMIT = "submit"
    """Hand in, order, cancel, retry and delete."""
    ADMIN = "admin"
    """Both of these for the rows of every owner, and what only operators get to see."""
