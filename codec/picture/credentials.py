"""The mark as C2PA content credentials: signs a written picture, and reads signatures back. Opens no pixels.

The package c2pa-python, an extra of its own, is loaded when something is signed or read; without it XMP says the same.
It asks no network: signatures carry no time of a third party, and revocation is not looked up.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from codec.errors import FeatureUnavailable, SignerUnusable

ASSERTION = "misc-archive.reconstruction"
"""Label of the assertion that has this project's own statements."""

_LABEL = b"urn:c2pa:"
"""In every file with a manifest, as its name."""

_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_MAX_PEM_BYTES = 1 << 20

_SETTINGS: dict[str, Any] = {
    "version": 1,
    # A thumbnail would be as large as the picture, and another rendering of what nobody saw.
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
}

_VALID = ("Valid", "Trusted")


@dataclass(frozen=True)
class Signature:
    """What became of a picture's signature.

    `state`: "trusted" is valid by a certificate that leads to an authority which the reader trusts; "valid" is one that
    anybody may have made for themselves; "invalid" is a picture that was changed, or a signature that never held;
    "unread" has to be read where c2pa-python is installed. `signer`: the name in the certificate, and its organisation.
    """

    state: Literal["trusted", "valid", "invalid", "unread"]
    signer: str = ""
    organisation: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Signer:
    """The archive's certificate with those above it, and its private key, all PEM."""

    certificates: bytes = field(repr=False)
    key: bytes = field(repr=False)
    algorithm: str

    @classmethod
    def load(cls, certificates: Path, key: Path) -> Self:
        """Read both files and sign something with them; the certificate comes first, then those that vouch for it.

        Raises SignerUnusable, with what is wrong in one sentence, and FeatureUnavailable without the package.
        """
        require_package()
        chain, secret = _pem(certificates, "certificate"), _pem(key, "key")
        signer = cls(chain, secret, _algorithm_of(secret, key))
        signer._try()
        return signer

    def sign(self, file: bytes, media_type: str, manifest: Mapping[str, Any]) -> bytes:
        """The picture file with the manifest in it, signed. No two signatures have the same bytes.

        Raises SignerUnusable.
        """
        import c2pa

        signed = io.BytesIO()
        try:
            info = c2pa.C2paSignerInfo(self.algorithm, self.certificates, self.key, None)
            with (
                c2pa.Context.from_dict(_SETTINGS) as context,
                c2pa.Signer.from_info(info) as signer,
                c2pa.Builder(json.dumps(manifest), context=context) as builder,
            ):
                builder.sign(signer, media_type, io.BytesIO(file), signed)
        except c2pa.C2paError as error:
            raise SignerUnusable(f"The certificate and key cannot sign: {_reason(error)}.") from None
        return signed.getvalue()

    def _try(self) -> None:
        """A key of another certificate and a certificate that has expired are found before the first picture."""
        from PIL import Image

        file = io.BytesIO()
        Image.new("RGB", (1, 1)).save(file, "PNG")
        signed = self.sign(file.getvalue(), "image/png", manifest_of({}, "algorithmicallyEnhanced", "A trial."))
        signature, _ = read_credentials(io.BytesIO(signed), "image/png")
        if signature.state not in ("valid", "trusted"):
            raise SignerUnusable(f"The certificate and key cannot sign: {signature.reason}.")


def manifest_of(statements: Mapping[str, Any], source_type: str, statement: str) -> dict[str, Any]:
    """The manifest that says so; `source_type` is the URI of an IPTC term, `statement` a sentence for people."""
    name, _, version = str(statements.get("software", "")).partition(" ")
    action = {"action": "c2pa.created", "digitalSourceType": source_type, "description": statement}
    return {
        "claim_generator_info": [{"name": name or "misc-archive", "version": version or "0"}],
        "title": f"reconstruction of {str(statements.get('stream_sha256', ''))[:16]}",
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [action]}},
            {"label": ASSERTION, "data": dict(statements)},
        ],
    }


def has_credentials(file: bytes) -> bool:
    """Whether a picture file has a manifest, whoever signed it."""
    return _LABEL in file


def read_credentials(
    file: io.BufferedIOBase | io.BytesIO, media_type: str, trusted: bytes | None = None
) -> tuple[Signature, dict[str, Any] | None]:
    """The signature of a picture that has a manifest, and what our assertion in it says, None without one of ours.

    `trusted`: certificates of authorities, PEM.
    """
    try:
        require_package()
    except FeatureUnavailable as error:
        return Signature("unread", reason=str(error)), None
    import c2pa

    settings = _SETTINGS | ({"trust": {"trust_anchors": trusted.decode("ascii", "replace")}} if trusted else {})
    try:
        with c2pa.Context.from_dict(settings) as context, c2pa.Reader(media_type, file, context=context) as reader:
            store = json.loads(reader.json())
    except c2pa.C2paError as error:
        return Signature("invalid", reason=_reason(error)), None
    manifest = store["manifests"][store["active_manifest"]]
    by = manifest.get("signature_info", {})
    names = (str(by.get("common_name", "")), str(by.get("issuer", "")))
    statements = [entry["data"] for entry in manifest.get("assertions", []) if entry["label"] == ASSERTION]
    ours = statements[0] if statements and isinstance(statements[0], dict) else None
    state = store.get("validation_state")
    if state in _VALID:
        return Signature("trusted" if state == "Trusted" else "valid", *names), ours
    faults = [
        status for status in store.get("validation_status", []) if status["code"] != "signingCredential.untrusted"
    ]
    reason = "; ".join(f"{fault.get('explanation') or 'it does not hold'} ({fault['code']})" for fault in faults)
    return Signature("invalid", *names, reason or "it does not hold"), ours


def require_package() -> None:
    """Raise FeatureUnavailable with a remedy where c2pa-python is not installed."""
    try:
        import c2pa  # noqa: F401
    except ImportError:
        raise FeatureUnavailable(
            "Content credentials need the package c2pa-python, which is not installed here. "
            "Run: pip install 'misc-archive[c2pa]'"
        ) from None


def _pem(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_PEM_BYTES + 1)
    except OSError as error:
        raise SignerUnusable(f"The {what} {path} cannot be read: {error.strerror or error}.") from None
    if len(data) > _MAX_PEM_BYTES or b"-----BEGIN " not in data:
        raise SignerUnusable(f"The {what} {path} is not PEM.")
    return data


def _algorithm_of(key: bytes, path: Path) -> str:
    """The one that C2PA knows for keys of this kind."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        loaded = load_pem_private_key(key, password=None)
    except TypeError:
        raise SignerUnusable(
            f"The key {path} has a password; store it without one, readable by the archive only."
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise SignerUnusable(f"The key {path} is no private key that can be read.") from None
    if isinstance(loaded, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(loaded, rsa.RSAPrivateKey):
        return "ps256"
    if isinstance(loaded, ec.EllipticCurvePrivateKey) and loaded.curve.name in _CURVES:
        return _CURVES[loaded.curve.name]
    raise SignerUnusable(f"The key {path} is of a kind that C2PA does not know; use one of P-256, Ed25519 or RSA.")


def _reason(error: Exception) -> str:
    """The library's words without its own name for the kind of error, in front of a full stop."""
    return str(error).rpartition(": ")[2].strip().rstrip(".") or "no reason is told"
