"""Reference pictures of outside codecs that come with an upload or a stream: whether they belong to it."""

from api.images.pictures import read_picture_info
from api.images.schemas import SubmitOptions
from api.services import Services
from api.uploads import UploadedFile
from codec.errors import OptionError, ReferenceMissing
from codec.limits import MAX_REFERENCE_BYTES
from codec.options import Mode
from codec.picture.open import PictureInfo
from core.archive.object_lifecycle import NewObject
from core.archive.references import new_reference
from core.errors import UploadTooLarge


def check_options(options: SubmitOptions, reference: UploadedFile | None) -> None:
    """Raise OptionError unless picture, rate and mode come together or not at all."""
    if (reference is None) != (options.reference_bpp is None):
        raise OptionError("A reference needs both: the file 'reference' and the option reference_bpp.")
    if reference is not None and options.mode is not Mode.REF:
        raise OptionError("mode: a reference picture belongs to mode ref.")


def declared_bits(options: SubmitOptions, picture: PictureInfo) -> int | None:
    """What the outside codec spent on the whole picture; raises OptionError for a rate that comes to no bit at all."""
    if options.reference_bpp is None:
        return None
    bits = round(options.reference_bpp * picture.width * picture.height)
    if bits < 1:
        raise OptionError(
            f"reference_bpp: {options.reference_bpp:g} bits per pixel come to less than one bit for "
            f"{picture.width}x{picture.height} pixels; give what the outside codec really spent."
        )
    return bits


async def check_reference(services: Services, file: UploadedFile | None) -> NewObject | None:
    """Read the picture to its end; raises PictureError children, and UploadTooLarge beyond what a stream may name."""
    if file is None:
        return None
    if file.size_bytes > MAX_REFERENCE_BYTES:
        raise UploadTooLarge(f"A reference picture has at most {MAX_REFERENCE_BYTES} bytes; this one has more.")
    info = await read_picture_info(services, file)
    return new_reference(file.sha256, file.size_bytes, info.media_type)


def check_digest(file: UploadedFile, digest: bytes) -> None:
    """Raise ReferenceMissing unless this is the file that a stream names by the beginning of its SHA-256."""
    if not bytes.fromhex(file.sha256).startswith(digest):
        raise ReferenceMissing(
            f"The stream names another reference picture: its SHA-256 begins with {digest.hex()}, "
            f"that of the one sent with {file.sha256[: 2 * len(digest)]}."
        )
