"""Brings an opened image to 8-bit sRGB on white: bits, colour, transparency. What it had to assume becomes notes."""

import numpy as np
from PIL import Image, ImageCms, ImageFile

from codec.picture import icc
from codec.picture.colour import ColourSignal, Pixels, to_srgb

NOTHING_SEEN = "Transparent parts were put on white, which leaves a single colour; nothing of a picture is seen."
ALPHA_IGNORED = "Every pixel of the file says that it is transparent; that was taken for an unused channel."


def to_plain(
    image: Image.Image,
    *,
    profile: bytes | None,
    signal: ColourSignal | None,
    key: tuple[int, ...] | None = None,
    bits: int = 8,
    alpha_may_be_unused: bool = False,
    deep: Pixels | None = None,
    full_scale: int | None = None,
) -> tuple[Image.Image, list[str]]:
    """The image as RGB, and notes.

    `key` is the colour that is transparent, in samples of `bits`; None leaves that to the reader. `alpha_may_be_unused`
    for a file whose writer may have left the fourth channel at 0. `deep` are the same pixels with all their bits,
    `full_scale` what white is in samples of more than 8 bits; None judges by the brightest.
    """
    notes: list[str] = []
    image = _with_key(image, key, bits) if key is not None else _to_eight_bits(image, full_scale)
    if alpha_may_be_unused and image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
        image = image.convert("RGB")
        notes.append(ALPHA_IGNORED)
    is_transparent = image.has_transparency_data
    if signal is None and profile is not None:
        image, profile = _by_profile(image, profile, deep)
    if signal is not None:
        colours = _colours_of(image)
        is_deep = deep is not None and deep.shape == (*colours.size[::-1], len(colours.getbands()))
        image, note = to_srgb(deep if deep is not None and is_deep else np.asarray(colours), signal)
        notes.append(note)
        profile = None
    picture = _to_srgb(_flatten(image), profile)
    if is_transparent and _is_one_colour(picture):
        notes.append(NOTHING_SEEN)
    return picture, notes


def _by_profile(image: Image.Image, profile: bytes, deep: Pixels | None) -> tuple[Image.Image, bytes | None]:
    """The image in sRGB where its 8 bits on white do not do, and the profile that is left to be applied: what has more
    bits, and grey beside transparency."""
    if deep is not None and deep.shape[:2] == image.size[::-1]:
        converted = icc.convert_deep(deep, profile)
        if converted is not None:
            if converted.mode == "RGB" and image.has_transparency_data:
                converted.putalpha(_colours_of(image).getchannel("A"))
            return converted, None
    if image.mode == "LA" and (converted := icc.convert(image.getchannel("L"), profile)) is not None:
        converted.putalpha(image.getchannel("A"))
        return converted, None
    return image, profile


def _is_one_colour(picture: Image.Image) -> bool:
    return all(len(set(channel.getextrema())) == 1 for channel in picture.split())


def _colours_of(image: Image.Image) -> Image.Image:
    """Mode RGB, or RGBA where parts are transparent."""
    if image.mode == "La":
        image = image.convert("LA")  # the only way out of this mode
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _with_key(image: Image.Image, key: tuple[int, ...], bits: int) -> Image.Image:
    """A grey or RGB image whose pixels of one colour are transparent. Of 16-bit colours the reader has kept the upper
    half; grey is compared in full."""
    if image.mode.startswith("I;16") or image.mode == "I":
        is_key = np.asarray(image) == key[0]
    elif image.mode == "RGB":
        wanted = [value >> 8 if bits == 16 else value for value in key]
        is_key = (np.asarray(image) == wanted).all(axis=-1)
    else:
        level = key[0] * 255 // ((1 << bits) - 1)
        is_key = np.asarray(image.convert("L")) == level
    image.info.pop("transparency", None)
    eight = _to_eight_bits(image)
    eight = eight.convert("RGB" if eight.mode == "RGB" else "L")
    eight.putalpha(Image.fromarray(np.where(is_key, 0, 255).astype(np.uint8)))
    return eight


def _to_eight_bits(image: Image.Image, full_scale: float | None = None) -> Image.Image:
    """Grey pictures of 16 bits, 32 bits or floats as mode L; all others unchanged.

    Pillow clips these modes on conversion; a 16-bit scan would come out almost white.
    """
    if image.mode.startswith("I;16"):
        # Rounded division of 0..65535 by 257, as a table so that no wide copy of the picture is made.
        table = ((np.arange(65536, dtype=np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
        native = np.asarray(image)
        return Image.fromarray(table[native.astype(np.uint16, copy=False)])
    if image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float32)
        finite = np.isfinite(values)
        if not finite.all():
            values = np.where(finite, values, 0)
        if full_scale is None:
            peak = float(values.max())
            full_scale = next(scale for scale in (1.0, 255.0, 65535.0, max(peak, 65536.0)) if peak <= scale)
            if image.mode == "I" and full_scale == 1.0:
                full_scale = 255.0
        return Image.fromarray(np.clip(values * (255 / full_scale) + 0.5, 0, 255).astype(np.uint8))
    return image


def _flatten(image: Image.Image) -> Image.Image:
    """Palettes resolved and transparency put on white: mode L, RGB, CMYK, YCbCr, LAB or HSV."""
    if image.has_transparency_data:
        if image.mode == "La":
            image = image.convert("LA")  # the only way out of this mode
        if image.mode != "RGBA":
            image = image.convert("RGBA")
        flat = Image.new("RGB", image.size, (255, 255, 255))
        flat.paste(image, mask=image)
        return flat
    if image.mode in ("L", "RGB", "CMYK", "LAB"):
        return image
    if image.mode == "1":
        return image.convert("L")
    return image.convert("RGB")


def _to_srgb(image: Image.Image, profile: object) -> Image.Image:
    """RGB in sRGB, through the embedded ICC profile where it is usable."""
    if isinstance(profile, bytes) and profile and image.mode in ("L", "RGB", "CMYK"):
        converted = icc.convert(image, profile)
        if converted is not None:
            return converted
    if image.mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        converted = ImageCms.profileToProfile(image, lab, ImageCms.createProfile("sRGB"), outputMode="RGB")
        if converted is not None:
            return converted
    if image.mode != "RGB":
        return image.convert("RGB")
    # A reader's own object would carry its file's name and metadata into later encoders; a copy carries nothing.
    return image.copy() if isinstance(image, ImageFile.ImageFile) else image
