"""Content credentials: what is signed is read back by c2pa's own reader, and a change is found out."""

import io
import json
from datetime import timedelta
from pathlib import Path

import c2pa
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from PIL import Image

from codec.errors import SignerUnusable
from codec.picture.credentials import Signer
from codec.picture.mark import read_mark
from codec.picture.save import MEDIA_TYPES, Provenance, save_picture
from tests.certificates import archive_under, authority, written

NOISE = Image.fromarray(np.random.default_rng(1).integers(0, 255, (40, 60, 3), dtype=np.uint8))
PAINTED = Provenance("gan", "ab" * 32, 2**62, True, "misc-archive 0.1.0", "profile lite", {"restorer": "cd" * 32})
SMOOTHED = Provenance("smooth", "ab" * 32, 7, False)
AUTHORITY = authority()


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer.load(*written(tmp_path_factory.mktemp("certificate"), archive_under(AUTHORITY), AUTHORITY))


@pytest.mark.parametrize("format", ["png", "webp", "avif", "jpeg"])
@pytest.mark.parametrize(
    ("provenance", "term"), [(PAINTED, "trainedAlgorithmicMedia"), (SMOOTHED, "algorithmicallyEnhanced")]
)
def test_c2pas_own_reader_finds_the_statements(signer: Signer, format: str, provenance: Provenance, term: str) -> None:
    data = save_picture(NOISE, format, provenance, signer)
    with c2pa.Reader(MEDIA_TYPES[format], io.BytesIO(data)) as reader:
        store = json.loads(reader.json())
    assert store["validation_state"] == "Valid"
    manifest = store["manifests"][store["active_manifest"]]
    assert "thumbnail" not in manifest
    assertions = {entry["label"]: entry["data"] for entry in manifest["assertions"]}
    (action,) = assertions["c2pa.actions.v2"]["actions"]
    assert action["digitalSourceType"] == f"http://cv.iptc.org/newscodes/digitalsourcetype/{term}"
    assert action["description"] == provenance.statement
    assert assertions["misc-archive.reconstruction"] == provenance.statements
    assert manifest["signature_info"]["common_name"] == "archive.example"


@pytest.mark.parametrize("format", ["png", "webp", "avif", "jpeg"])
def test_both_carriers_say_the_same(signer: Signer, format: str) -> None:
    unsigned = read_mark(save_picture(NOISE, format, PAINTED))
    signed = read_mark(save_picture(NOISE, format, PAINTED, signer))
    assert unsigned.pop("signature") is None
    assert signed.pop("signature") == {
        "state": "valid",
        "signer": "archive.example",
        "organisation": "Test Archive",
        "reason": "",
    }
    assert signed == unsigned == PAINTED.statements


def test_signature_is_trusted_where_its_authority_is(signer: Signer) -> None:
    data = save_picture(NOISE, "png", PAINTED, signer)
    assert read_mark(data, AUTHORITY.pem)["signature"]["state"] == "trusted"
    assert read_mark(data, authority().pem)["signature"]["state"] == "valid"


@pytest.mark.parametrize(
    ("format", "before"), [("png", b"IDAT"), ("webp", b"VP8 "), ("avif", b"mdat"), ("jpeg", b"\xff\xda")]
)
def test_changed_pixel_breaks_the_signature(signer: Signer, format: str, before: bytes) -> None:
    data = bytearray(save_picture(NOISE, format, PAINTED, signer))
    unsigned = save_picture(NOISE, format, PAINTED)
    samples = unsigned.rindex(before) + 200
    # Signing leaves the coded samples as they are, at another place.
    place = data.index(unsigned[samples : samples + 40])
    data[place + 20] ^= 1
    signature = read_mark(bytes(data))["signature"]
    assert signature["state"] == "invalid"
    assert ".mismatch" in signature["reason"]


def test_changed_statement_breaks_the_signature(signer: Signer) -> None:
    data = save_picture(NOISE, "jpeg", PAINTED, signer)
    assert data.count(b"invents detail") >= 2  # XMP and the manifest
    changed = data.replace(b"invents detail", b"invented zilch", 1)
    assert read_mark(changed)["signature"]["state"] == "invalid"


def test_signer_does_not_show_its_key(signer: Signer) -> None:
    assert "PRIVATE" not in repr(signer)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["p-384", "ed25519", "rsa"],
)
def test_keys_of_other_kinds_sign(tmp_path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    signer = Signer.load(*written(tmp_path, archive_under(AUTHORITY, key), AUTHORITY))
    assert read_mark(save_picture(NOISE, "png", PAINTED, signer))["signature"]["state"] == "valid"


def test_bad_certificates_and_keys_are_told_in_a_sentence(tmp_path: Path) -> None:
    archive = archive_under(AUTHORITY)
    certificate, key = written(tmp_path, archive, AUTHORITY)
    sound = certificate.read_bytes(), key.read_bytes()
    other_kind = archive_under(AUTHORITY, ec.generate_private_key(ec.SECP256K1())).key_pem()
    expired = archive_under(AUTHORITY, life=timedelta(days=-1))
    for chain, secret, words in (
        (b"nonsense", sound[1], "certificate.*is not PEM"),
        (sound[0], b"nonsense", "key.*is not PEM"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", sound[1], "cannot sign"),
        (sound[0], b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no private key"),
        (sound[0], archive_under(AUTHORITY).key_pem(), "does not match"),
        (sound[0], archive.key_pem(b"secret"), "has a password"),
        (sound[0], other_kind, "a kind that C2PA does not know"),
        (AUTHORITY.pem, AUTHORITY.key_pem(), "self-signed"),
        (expired.pem + AUTHORITY.pem, expired.key_pem(), "not valid at time of signing"),
    ):
        certificate.write_bytes(chain)
        key.write_bytes(secret)
        with pytest.raises(SignerUnusable, match=words) as caught:
            Signer.load(certificate, key)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    with pytest.raises(SignerUnusable, match=r"cannot be read: No such file"):
        Signer.load(tmp_path / "none.pem", key)
