"""Small picture files of foreign codecs, as the reference mode makes and reads them. It chooses no quality.

Kept beside `open.py` and not in it: these files come out of a stream that says exactly what they must be, so nothing
is guessed, converted or turned upright.
"""

import io

from PIL import Image, features

from codec.errors import FeatureUnavailable, StreamCorrupt
from codec.picture.damage import DAMAGE
from codec.picture.formats import FORMATS

_FORMAT_NAMES = {"avif": "AVIF", "webp": "WebP", "jxl": "JPEG XL", "jpeg": "JPEG"}
_READERS = {codec: next(f for f in FORMATS if f.name == name) for codec, name in _FORMAT_NAMES.items()}


def require_codec(codec: str) -> None:
    """Raise FeatureUnavailable with a remedy when "avif", "webp", "jxl" or "jpeg" cannot be written and read."""
    if codec == "jxl":
        try:
            import pillow_jxl  # noqa: F401
        except ImportError:
            raise FeatureUnavailable(
                "JPEG XL needs the package pillow-jxl-plugin, which is not installed here. "
                "Install it or choose --codec avif."
            ) from None
    elif codec in ("avif", "webp") and not features.check(codec):
        raise FeatureUnavailable(f"The imaging library here was built without {codec}; choose another --codec.")


def write_coded(codec: str, picture: Image.Image, quality: int, *, thorough: bool, plain: bool = False) -> bytes:
    """The picture (RGB) as a bare file of `codec` at `quality` in [0, 100]; `thorough` spends more time on it.

    `plain` keeps JPEG XL to tools that need one frame only. The settings are those whose wrapper can be
    rebuilt: 4:2:0, one frame, no metadata. Raises FeatureUnavailable when the codec is missing.
    """
    require_codec(codec)
    out = io.BytesIO()
    if codec == "avif":
        # Tiles are chosen by the number of processors unless they are switched off, and cost bits.
        picture.save(out, "AVIF", quality=quality, speed=4 if thorough else 6, codec=_av1_encoder(), autotiling=False)
    elif codec == "webp":
        picture.save(out, "WEBP", quality=quality, method=6 if thorough else 5)
    elif codec == "jxl":
        # Quality 100 would ask this plugin for a lossless file, which it then refuses to write in these settings.
        picture.save(out, "JXL", quality=min(quality, 99), effort=4 if plain else 8 if thorough else 7)
    else:
        picture.save(out, "JPEG", quality=max(quality, 1), subsampling=2, optimize=True)
    return out.getvalue()


def read_coded(codec: str, file: bytes, width: int, height: int) -> Image.Image:
    """Decode a file of `codec` that must have exactly width x height pixels; mode RGB.

    Raises StreamCorrupt when it claims another size or does not decode, FeatureUnavailable without the codec.
    """
    require_codec(codec)
    try:
        with _READERS[codec].open(io.BytesIO(file)) as image:
            if image.size != (width, height):
                raise StreamCorrupt(
                    f"The {codec} reference has {image.size[0]}x{image.size[1]} pixels; "
                    f"{width}x{height} were announced."
                )
            image.load()
            return image.convert("RGB") if image.mode != "RGB" else image.copy()
    except (*DAMAGE, Image.DecompressionBombError) as error:
        raise StreamCorrupt(f"The {codec} reference inside the stream does not decode ({error}).") from None


def _av1_encoder() -> str:
    """libaom where it is there: the other encoders need a minimum size or compress stills less well."""
    from PIL import _avif

    return "aom" if _avif.encoder_codec_available("aom") else "auto"
