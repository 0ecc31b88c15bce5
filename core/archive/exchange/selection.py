"""Which images an export is of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from core.archive import search
from core.database import Database
from core.errors import NotFound
from models.batch import Batch
from models.image import Image, ImageState

_AT_ONCE = 200


@dataclass(frozen=True)
class Selection:
    """All images that have a stream and fulfil everything that is given. Of batches of one name the newest is meant."""

    image_ids: tuple[str, ...] = ()
    batch: str | None = None
    words: str | None = None
    owner: str | None = None


def pages(database: Database, selection: Selection) -> Iterator[Sequence[Image]]:
    """The images in the order of their ids, some at a time; they belong to no session any more.

    Raises NotFound for an id or a batch that is not there, and RequestInvalid as `search.conditions` does.
    """
    with database.read() as session:
        batch_id = None if selection.batch is None else _batch_id(session, selection)
    wanted = sorted(set(selection.image_ids))
    after, found = "", 0
    while True:
        with database.read() as session:
            query = select(Image).where(Image.id > after, Image.state == ImageState.READY)
            if wanted:
                query = query.where(Image.id.in_(wanted[found : found + _AT_ONCE]))
            if batch_id is not None:
                query = query.where(Image.batch_id == batch_id)
            if selection.words is not None:
                query = query.where(*search.conditions(selection.words))
            if selection.owner is not None:
                query = query.where(Image.owner == selection.owner)
            images = session.scalars(query.order_by(Image.id).limit(_AT_ONCE)).unique().all()
        if wanted:
            asked = wanted[found : found + _AT_ONCE]
            missing = sorted(set(asked) - {image.id for image in images})
            if missing:
                raise NotFound(f"There is no image {missing[0]!r} that has a stream and fits the other options.")
            found += len(asked)
        if not images:
            return
        yield images
        after = images[-1].id


def _batch_id(session: Session, selection: Selection) -> str:
    named = or_(Batch.id == selection.batch, Batch.name == selection.batch)
    query = select(Batch.id).where(named).order_by(Batch.id.desc()).limit(1)
    if selection.owner is not None:
        query = query.where(Batch.owner == selection.owner)
    batch_id = session.scalar(query)
    if batch_id is None:
        raise NotFound(f"There is no batch {selection.batch!r}.")
    return batch_id
