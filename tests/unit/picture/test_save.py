"""Every reconstruction says what made it, in a form that other programs read, and in the same bytes each time."""

import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from codec.errors import OptionError
from codec.picture.open import open_picture
from codec.picture.save import Provenance, format_for, save_picture

DIGEST = "ab" * 32
NOISE = Image.fromarray(np.random.default_rng(1).integers(0, 255, (24, 32, 3), dtype=np.uint8))
SOURCE_TYPE = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
OWN = "{urn:misc-archive:provenance:1.0/}"


def made_by(generative: bool) -> Provenance:
    return Provenance("paint<er>&", DIGEST, 1234, generative, "misc-archive 0.1.0")


def xmp_of(data: bytes) -> str:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        xmp = image.info["xmp"]
    return xmp.decode() if isinstance(xmp, bytes) else xmp


@pytest.mark.parametrize("format", ["png", "webp", "avif", "jpeg"])
@pytest.mark.parametrize(
    ("generative", "term"), [(True, "trainedAlgorithmicMedia"), (False, "algorithmicallyEnhanced")]
)
def test_xmp_names_the_maker_and_the_stream(format: str, generative: bool, term: str) -> None:
    data = save_picture(NOISE, format, made_by(generative))
    packet = xmp_of(data)
    root = ET.fromstring(packet[packet.index("<x:xmpmeta") : packet.index("</x:xmpmeta>") + 12])
    description = next(node for node in root.iter() if node.tag.endswith("}Description"))
    assert description.attrib[SOURCE_TYPE] == f"http://cv.iptc.org/newscodes/digitalsourcetype/{term}"
    assert description.attrib[OWN + "StreamSHA256"] == DIGEST
    assert description.attrib[OWN + "Restorer"] == "paint<er>&"
    assert description.attrib[OWN + "Seed"] == "1234"
    assert open_picture(data).size == NOISE.size


def test_png_is_lossless_and_has_text_chunks() -> None:
    data = save_picture(NOISE, "png", made_by(True))
    with Image.open(io.BytesIO(data)) as image:
        assert image.text["misc:StreamSHA256"] == DIGEST
        assert "generative decoder" in image.text["Comment"]
    assert open_picture(data).tobytes() == NOISE.tobytes()


@pytest.mark.parametrize("format", ["png", "webp", "avif", "jpeg"])
def test_bytes_are_the_same_each_time(format: str) -> None:
    assert save_picture(NOISE, format, made_by(True)) == save_picture(NOISE.copy(), format, made_by(True))


def test_unknown_formats_and_impossible_sizes_are_refused() -> None:
    with pytest.raises(OptionError, match="png"):
        save_picture(NOISE, "bmp", made_by(True))
    with pytest.raises(OptionError, match="16383"):
        save_picture(Image.new("RGB", (16384, 1)), "webp", made_by(True))
    with pytest.raises(OptionError, match=r"\.webp"):
        format_for(".tga")
    assert format_for(".JPG") == "jpeg"


def test_metadata_name_the_networks_by_digest() -> None:
    import re

    provenance = Provenance("gan", "cd" * 32, 3, True, weights={"stage1": "ab" * 32, "coarse": "12345678"})
    for format in ("png", "webp"):
        data = save_picture(NOISE, format, provenance)
        assert re.search(b'misc:Weights="coarse 12345678, stage1 (ab){32}"', data)
