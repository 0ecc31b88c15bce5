"""The forms of an export; alone here, so that naming one imports nothing."""

from enum import StrEnum


class Form(StrEnum):
    """In which form an export is written."""

    BAGIT = "bagit"
    """A bag (RFC 8493)."""
    OCFL = "ocfl"
    """A storage root of the Oxford Common File Layout, version 1.1."""
    TAR = "tar"
    """The files alone, in a tar."""
