"""Finds pictures that look alike, by their perceptual hashes. Every function works in the caller's transaction.

A hash is four bands of 16 bits. Two that differ in at most three bits have a band in common, so four looks into an
index of bands find every such pair.
"""

from collections.abc import Sequence

from sqlalchemy import literal_column, select
from sqlalchemy.orm import Session

from codec.picture.likeness import distance
from core.owners.view import View
from models.image import BANDS, Image

MOST_DISTANCE = 3
"""Bits of 64. A picture saved again, smaller or with more loss has 0 to 2; other pictures of one scene have more."""

_MOST_CANDIDATES = 5_000
"""Of one band. Even pictures all have the same hash, and nobody looks through a hundred thousand of them."""

_BAND_VALUES = 65_535


def similar(
    session: Session, perceptual_hash: int | None, view: View, *, besides: str, limit: int
) -> Sequence[tuple[int, Image]]:
    """Images of the view that look like this one, nearest first, with the bits that differ; never `besides`."""
    if perceptual_hash is None:
        return []
    near: dict[str, int] = {}
    for shift, band in BANDS.items():
        # Written as the index has it, which SQLite needs to see that it serves.
        wanted = literal_column(band) == ((perceptual_hash >> shift) & _BAND_VALUES)
        rows = session.execute(
            select(Image.id, Image.owner, Image.perceptual_hash).where(wanted).limit(_MOST_CANDIDATES)
        )
        for image_id, owner, other in rows:
            bits = distance(perceptual_hash, other or 0)
            if bits <= MOST_DISTANCE and image_id != besides and view.owner in (None, owner):
                near[image_id] = bits
    nearest = sorted(near, key=lambda image_id: (near[image_id], image_id))[:limit]
    images = {image.id: image for image in session.scalars(select(Image).where(Image.id.in_(nearest)))}
    return [(near[image_id], images[image_id]) for image_id in nearest if image_id in images]
