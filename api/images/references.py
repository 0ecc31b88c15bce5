"""Reference pictures of outside codecs, which lie beside the streams that name them; shared by digest, like streams."""

from dataclasses import dataclass
from functools import partial

from anyio import to_thread

from api.images.schemas import SubmitOptions
from api.services import Services
from api.uploads import UploadedFile
from codec.errors import OptionError, ReferenceMissing
from codec.limits import MAX_REFERENCE_BYTES
from codec.media import suffix_of
from codec.options import Mode
from codec.picture.open import PictureInfo, check_picture
from core.archive import object_lifecycle
from core.errors import UploadTooLarge
from core.storage.keys import reference_key


@dataclass(frozen=True)
class Reference:
    """A reference picture that was checked, and the place it has in storage."""

    file: UploadedFile
    info: PictureInfo

    @property
    def key(self) -> str:
        """Where it lies."""
        return reference_key(self.file.sha256, suffix_of(self.info.media_type)[1:])


def check_options(options: SubmitOptions, file: UploadedFile | None) -> None:
    """Raise OptionError unless picture, rate and mode come together or not at all."""
    if (file is None) != (options.reference_bpp is None):
        raise OptionError("A reference needs both: the file 'reference' and the option reference_bpp.")
    if file is not None and options.mode is not Mode.REF:
        raise OptionError("mode: a reference picture belongs to mode ref.")


def check_rate(options: SubmitOptions, picture: PictureInfo) -> None:
    """Raise OptionError for a rate that comes to no bit at all for a picture of this size."""
    if options.reference_bpp is not None and round(options.reference_bpp * picture.width * picture.height) < 1:
        raise OptionError(
            f"reference_bpp: {options.reference_bpp:g} bits per pixel come to less than one bit for "
            f"{picture.width}x{picture.height} pixels; give what the outside codec really spent."
        )


async def check_reference(services: Services, file: UploadedFile) -> Reference:
    """Read the picture to its end; raises PictureError children, and UploadTooLarge beyond what a stream may name."""
    if file.size_bytes > MAX_REFERENCE_BYTES:
        raise UploadTooLarge(f"A reference picture has at most {MAX_REFERENCE_BYTES} bytes; this one has more.")
    check = partial(check_picture, file.path, max_pixels=services.settings.max_pixels)
    return Reference(file, await to_thread.run_sync(check, limiter=services.picture_slots))


def check_digest(file: UploadedFile, digest: bytes) -> None:
    """Raise ReferenceMissing unless this is the file that a stream names by the beginning of its SHA-256."""
    if not bytes.fromhex(file.sha256).startswith(digest):
        raise ReferenceMissing(
            f"The stream names another reference picture: its SHA-256 begins with {digest.hex()}, "
            f"that of the one sent with {file.sha256[: 2 * len(digest)]}."
        )


def store(services: Services, reference: Reference) -> None:
    """Put it where no job can find it missing; one that nobody comes to need is swept later."""
    object_lifecycle.reserve(services.database, reference.key)
    services.storage.put(
        reference.key,
        reference.file.path,
        content_type=reference.info.media_type,
        sha256=reference.file.sha256,
    )
