"""What an imported stream becomes."""

from pydantic import BaseModel

from api.images.schemas import ImageOut


class ImportedBitstream(BaseModel):
    """The image that the stream became."""

    image: ImageOut
