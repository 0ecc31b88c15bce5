"""What a describer says of a picture: three items and one overall text."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """One thing in the picture. `name` (<= 3 words) serves locating and search and is not stored in the stream;
    `detail` (<= 10 words) is."""

    name: str
    detail: str


@dataclass(frozen=True)
class Description:
    """Up to three items, most distinct first, and an overall description of about 50 words."""

    items: tuple[Item, ...] = ()
    overall: str = ""
