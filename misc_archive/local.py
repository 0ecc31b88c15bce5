"""Encode, decode and inspect on this machine: the codec with its defaults, two lines each."""

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from PIL import Image

from cli.commands.inspect import contents, is_picture_name, mark_of
from cli.local.networks import default_profile, restorers
from cli.local.paths import find_network, mark_signer, weights_store
from cli.local.verified_encode import encode_and_verify
from codec.atomic_files import write_atomically
from codec.bitstream import unpack
from codec.description import Description
from codec.errors import OptionError
from codec.options import DecodeOptions, EncodeOptions, RestorerName, parse_options
from codec.picture.save import Provenance, format_for, require_format, save_picture
from codec.seed import sample_seed
from misc_archive.sources import PictureSource, StreamSource, name_of, picture_of, stream_of


@dataclass(frozen=True)
class Encoded:
    """A `.misc` file in memory.

    `bpp`: bits per pixel of the whole file; `description`: what is in the picture; `notes`: sentences on what was left
    out or assumed; `reference`: the file that belongs beside an external stream; `quality`: with `verify`, how good the
    picture came back, as the interface tells it.
    """

    data: bytes
    bpp: float
    description: Description
    notes: tuple[str, ...] = ()
    reference: bytes | None = None
    quality: dict[str, Any] | None = None

    def save(self, path: str | Path) -> None:
        """Write the file, whole or not at all."""
        write_atomically(Path(path), self.data)

    def decode(self, **options: Any) -> "Reconstruction":
        """The picture that comes back; `options` as in `decode`, `samples` apart."""
        return decode(self.data, reference=self.reference, samples=None, **options)

    def __len__(self) -> int:
        """Bytes of the file."""
        return len(self.data)


@dataclass(frozen=True)
class Reconstruction:
    """A picture that came back, mode RGB, and how it was made. Notebooks show it.

    `generative`: a network may have invented detail. `seed`: with the same options and networks it gives this picture.
    """

    picture: Image.Image
    provenance: Provenance
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def generative(self) -> bool:
        """Whether a network may have invented detail."""
        return self.provenance.generative

    @property
    def seed(self) -> int:
        """The source of all randomness."""
        return self.provenance.seed

    @property
    def array(self) -> npt.NDArray[np.uint8]:
        """The samples, (H, W, 3) uint8."""
        return np.asarray(self.picture)

    def save(self, path: str | Path) -> None:
        """Write a PNG, WebP, AVIF or JPEG by the name's suffix, with how it was made in its metadata; signed where
        MISC_MARK_CERTIFICATE names a certificate."""
        target = Path(path)
        picture_format = format_for(target.suffix)
        require_format(picture_format, *self.picture.size)
        write_atomically(target, save_picture(self.picture, picture_format, self.provenance, mark_signer()))

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.picture.save(file, "PNG")
        return file.getvalue()


def encode(picture: PictureSource, *, reference: tuple[bytes, float] | None = None, **options: Any) -> Encoded:
    """Encode a picture; `options` are those of `misc encode` (mode, max_bpp, rate, describe, text, profile, ...).

    `reference`: the file of another codec's finished picture, and the bits per pixel that it declares. Raises
    CodecError children, whose messages say what is wrong and what to do, and OSError for a file that cannot be read.
    """
    from codec.encode.coarse.external import Reference
    from codec.encode.dependencies import EncodeDependencies, resolve
    from codec.encode.pipeline import encode as encode_picture

    parsed = parse_options(EncodeOptions, options)
    opened = picture_of(picture)

    def _encode(options: EncodeOptions) -> Any:
        return encode_picture(
            opened.picture,
            options,
            source_name=name_of(picture),
            reference=None if reference is None else Reference(*reference),
            dependencies=resolve(EncodeDependencies(), options, weights_store()),
            picture_notes=opened.notes,
        )

    encoded, quality = encode_and_verify(opened.picture, parsed, _encode)
    return Encoded(encoded.data, encoded.bpp, encoded.description, encoded.notes, encoded.reference, quality)


@overload
def decode(
    stream: "StreamSource | Encoded", *, reference: bytes | None = None, samples: None = None, **options: Any
) -> Reconstruction: ...


@overload
def decode(
    stream: "StreamSource | Encoded", *, reference: bytes | None = None, samples: int, **options: Any
) -> list[Reconstruction]: ...


def decode(
    stream: "StreamSource | Encoded", *, reference: bytes | None = None, samples: int | None = None, **options: Any
) -> Reconstruction | list[Reconstruction]:
    """Decode a `.misc` file; `options` are those of `misc decode` (restorer, profile, seed, steps, ...).

    `reference`: the picture beside an external stream; `samples`: so many pictures in a list, which differ by their
    noise, with seeds that follow each other. Networks are loaded at the first call and kept. Raises CodecError children
    and OSError.
    """
    if isinstance(stream, Encoded):
        reference = reference or stream.reference
        stream = stream.data
    parsed = parse_options(DecodeOptions, {"profile": default_profile()} | options)
    data = stream_of(stream)
    unpack(data)  # A file that is none should not wait for networks.
    if samples is None:
        return _decode(data, reference, parsed)
    if samples < 1:
        raise OptionError(f"samples: {samples} are none; take 1 or more.")
    if samples > 1 and parsed.restorer_name is not RestorerName.DIFFUSION:
        raise OptionError(
            f'samples: the restorer {parsed.restorer_name} has no noise to differ by; add restorer="diffusion".'
        )
    from codec.decode.pipeline import seed_from

    first = parsed.seed if parsed.seed is not None else seed_from(data)
    return [
        _decode(data, reference, parsed.model_copy(update={"seed": sample_seed(first, number)}))
        for number in range(samples)
    ]


def _decode(data: bytes, reference: bytes | None, options: DecodeOptions) -> Reconstruction:
    from codec.decode.pipeline import decode as decode_stream

    with restorers().use(options) as restorer:
        decoded = decode_stream(data, options, reference=reference, restorer=restorer, find_network=find_network)
    return Reconstruction(decoded.picture, decoded.provenance(), decoded.seconds)


def inspect(stream: "StreamSource | Encoded") -> dict[str, Any]:
    """What is in a `.misc` file, or the mark of a reconstruction, as `misc inspect --json` shows it.

    Decodes no picture. Raises CodecError children, and OSError for a file that cannot be read.
    """
    if isinstance(stream, Encoded):
        stream = stream.data
    name = "" if isinstance(stream, bytes) else str(stream)
    if name and is_picture_name(Path(name)):
        return mark_of(Path(name))
    return contents(name, stream_of(stream))
