"""Certificates for tests: an authority, and an archive's own beneath it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Certified:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self, password: bytes | None = None) -> bytes:
        hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)


def authority() -> Certified:
    return _certify("Test Authority", ec.generate_private_key(ec.SECP256R1()), None, timedelta(days=300))


def archive_under(above: Certified, key: Key | None = None, *, life: timedelta = timedelta(days=200)) -> Certified:
    return _certify("archive.example", key or ec.generate_private_key(ec.SECP256R1()), above, life)


def written(folder: Path, of: Certified, above: Certified) -> tuple[Path, Path]:
    """The files that MISC_MARK_CERTIFICATE and MISC_MARK_KEY name."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(of.pem + above.pem)
    key.write_bytes(of.key_pem())
    return certificate, key


def _certify(name: str, key: Key, above: Certified | None, life: timedelta) -> Certified:
    is_authority = above is None
    signing_key = key if above is None else above.key
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test Archive"), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )
    begin = datetime.now(UTC) - timedelta(days=30)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if above is None else above.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=30) + life)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(_usage(is_authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), critical=False)
    )
    if not is_authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return Certified(builder.sign(signing_key, hashes.SHA256()), key)


def _usage(is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )
