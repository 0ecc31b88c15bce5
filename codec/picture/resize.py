"""The two resampling rules that encoder and decoder share, in one place so that they cannot drift apart."""

from PIL import Image


def reduce_by(picture: Image.Image, scale: int) -> Image.Image:
    """The picture at 1/scale, both sides rounded up; unchanged at scale 1."""
    if scale == 1:
        return picture
    size = (-(-picture.width // scale), -(-picture.height // scale))
    return picture.resize(size, Image.Resampling.LANCZOS)


def enlarge_to(picture: Image.Image, width: int, height: int) -> Image.Image:
    """The picture stretched bicubically to width x height; unchanged when it has that size."""
    if picture.size == (width, height):
        return picture
    return picture.resize((width, height), Image.Resampling.BICUBIC)
