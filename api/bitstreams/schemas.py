"""What is told when a stream is taken in."""

from pydantic import BaseModel

from api.images.schemas import ImageAnswer


class ImportedBitstream(BaseModel):
    """The image that the stream became."""

    image: ImageAnswer
