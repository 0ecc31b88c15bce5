"""Write a reconstruction as PNG, WebP, AVIF or JPEG, with metadata that says a decoder made it. Opens nothing.

Bytes are deterministic until they are signed: no dates, no machine names, no thread-dependent tiling.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from xml.sax.saxutils import quoteattr

from PIL import Image, PngImagePlugin, features

from codec import media
from codec.errors import FeatureUnavailable, OptionError
from codec.picture.credentials import Signer, manifest_of

PictureFormat = Literal["png", "webp", "avif", "jpeg"]

MEDIA_TYPES: Mapping[PictureFormat, str] = {
    "png": media.PNG,
    "webp": media.WEBP,
    "avif": media.AVIF,
    "jpeg": media.JPEG,
}

_SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
"""IPTC NewsCodes vocabulary of digital source types, which Iptc4xmpExt:DigitalSourceType takes its values from."""

_MAX_SIDES_PX = {"webp": 16_383, "jpeg": 65_500}
_QUALITY = {"webp": 90, "avif": 80, "jpeg": 92}
_AVIF_SPEED = 6


@dataclass(frozen=True)
class Provenance:
    """Who made a reconstruction and from what. `stream_sha256` is in hexadecimal; `generative` says that the
    restorer may invent detail rather than only clean up; `settings` are the options that had a part in it, in words,
    `weights` the SHA-256 of its networks by part."""

    restorer: str
    stream_sha256: str
    seed: int
    generative: bool
    software: str = "misc-archive"
    settings: str = ""
    weights: Mapping[str, str] = field(default_factory=dict)

    @property
    def digital_source_type(self) -> str:
        """The IPTC term, as a URI, for what the restorer did."""
        return _SOURCE_TYPES + ("trainedAlgorithmicMedia" if self.generative else "algorithmicallyEnhanced")

    @property
    def statement(self) -> str:
        """One sentence for people who look at the metadata."""
        what = "generative decoder, which invents detail" if self.generative else "enhancing decoder"
        return (
            f"Reconstructed by a {what} ({self.restorer}, seed {self.seed}) from the .misc stream with SHA-256 "
            f"{self.stream_sha256}. Not the original picture and not evidence."
        )

    @property
    def weights_in_words(self) -> str:
        """Part and digest of each network, in the order of the parts' names."""
        return ", ".join(f"{part} {digest}" for part, digest in sorted(self.weights.items()))

    @property
    def statements(self) -> dict[str, Any]:
        """All that the mark says, whichever way it is carried; its keys are those of `misc inspect`."""
        return {
            "statement": self.statement,
            "digital_source_type": self.digital_source_type,
            "software": self.software,
            "restorer": self.restorer,
            "settings": self.settings,
            "seed": self.seed,
            "generative": self.generative,
            "stream_sha256": self.stream_sha256,
            "weights": dict(self.weights),
        }

    def as_manifest(self) -> dict[str, Any]:
        """A C2PA manifest that says the same as the XMP packet."""
        return manifest_of(self.statements, self.digital_source_type, self.statement)

    def as_xmp(self) -> str:
        """An XMP packet with the IPTC digital source type, the statement and this project's own fields."""
        fields = {
            "Iptc4xmpExt:DigitalSourceType": self.digital_source_type,
            "xmp:CreatorTool": self.software,
            "misc:Restorer": self.restorer,
            "misc:Settings": self.settings,
            "misc:Weights": self.weights_in_words,
            "misc:Seed": str(self.seed),
            "misc:StreamSHA256": self.stream_sha256,
            "misc:Generative": str(self.generative),
        }
        attributes = "\n   ".join(f"{name}={quoteattr(value)}" for name, value in fields.items())
        text = self.statement.replace("&", "&amp;").replace("<", "&lt;")
        return (
            '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
            '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
            ' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
            '  <rdf:Description rdf:about=""\n'
            '   xmlns:dc="http://purl.org/dc/elements/1.1/"\n'
            '   xmlns:xmp="http://ns.adobe.com/xap/1.0/"\n'
            '   xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"\n'
            '   xmlns:misc="urn:misc-archive:provenance:1.0/"\n'
            f"   {attributes}>\n"
            f'   <dc:description><rdf:Alt><rdf:li xml:lang="x-default">{text}</rdf:li></rdf:Alt></dc:description>\n'
            "  </rdf:Description>\n"
            " </rdf:RDF>\n"
            "</x:xmpmeta>\n"
            '<?xpacket end="r"?>'
        )


def format_for(suffix: str) -> PictureFormat:
    """The format that a file name's suffix (".png", any case) asks for. Raises OptionError for all others."""
    for format, media_type in MEDIA_TYPES.items():
        if suffix.lower() in media.SUFFIXES[media_type]:
            return format
    raise OptionError(
        f"Reconstructions cannot be written as {suffix or 'a file without a suffix'}; "
        f"use one of {', '.join(map(media.suffix_of, MEDIA_TYPES.values()))}."
    )


def require_format(format: PictureFormat, width: int, height: int) -> None:
    """Raise what `save_picture` would raise for a picture of this size, before it is restored."""
    if format not in MEDIA_TYPES:
        raise OptionError(f"Reconstructions cannot be written as {format!r}; use one of {', '.join(MEDIA_TYPES)}.")
    if (most := _MAX_SIDES_PX.get(format)) and max(width, height) > most:
        raise OptionError(f"{format} holds at most {most} pixels a side; write PNG or AVIF instead.")
    if format in ("webp", "avif") and not features.check(format):
        raise FeatureUnavailable(f"The imaging library here cannot write {format}; write PNG instead.")


def save_picture(
    picture: Image.Image, format: PictureFormat, provenance: Provenance, signer: Signer | None = None
) -> bytes:
    """The picture (mode RGB) as a complete file that carries its provenance as XMP, in PNG also as text chunks, and
    with a `signer` as a signed C2PA manifest, which covers the rest.

    PNG is lossless; WebP, AVIF and JPEG are written at high quality. Raises OptionError for an unknown format or a
    picture larger than the format can hold, FeatureUnavailable when the imaging library was built without it, and
    SignerUnusable for a certificate that expired meanwhile.
    """
    require_format(format, *picture.size)
    xmp = provenance.as_xmp()
    out = io.BytesIO()
    if format == "png":
        picture.save(out, "PNG", pnginfo=_png_texts(provenance, xmp))
    elif format == "webp":
        picture.save(out, "WEBP", quality=_QUALITY["webp"], method=4, xmp=xmp.encode())
    elif format == "avif":
        # Automatic tiling depends on the number of processors, and so would the bytes.
        picture.save(out, "AVIF", quality=_QUALITY["avif"], speed=_AVIF_SPEED, autotiling=False, xmp=xmp.encode())
    else:
        picture.save(out, "JPEG", quality=_QUALITY["jpeg"], subsampling=0, xmp=xmp.encode())
    if signer is None:
        return out.getvalue()
    return signer.sign(out.getvalue(), MEDIA_TYPES[format], provenance.as_manifest())


def _png_texts(provenance: Provenance, xmp: str) -> PngImagePlugin.PngInfo:
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", xmp)
    texts.add_text("Software", provenance.software)
    texts.add_text("Comment", provenance.statement)
    texts.add_text("misc:Restorer", provenance.restorer)
    texts.add_text("misc:Settings", provenance.settings)
    texts.add_text("misc:Weights", provenance.weights_in_words)
    texts.add_text("misc:Seed", str(provenance.seed))
    texts.add_text("misc:StreamSHA256", provenance.stream_sha256)
    return texts
