"""Signatures of exports: the archive's own Ed25519 key, and the keys of others whose exports are taken.

A signature covers the bytes of `tagmanifest-sha256.txt`, which has the digests of the manifest and so of every file.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from codec.atomic_files import write_atomically
from core.archive.exchange.errors import SignatureInvalid, SigningKeyUnusable

ALGORITHM = "Ed25519"

MAX_SIGNATURE_BYTES = 1000
_MAX_KEY_BYTES = 10_000
_MAX_TRUSTED_BYTES = 1 << 20

_PUBLIC_KEY = re.compile(r"[0-9a-f]{64}")
_SIGNATURE = re.compile(r"[0-9a-f]{128}")
_SIGNER = re.compile(r"[0-9A-Za-z][0-9A-Za-z._@-]{0,99}")


class SigningKey:
    """A private key. `public` is its public half, 64 hexadecimal digits, by which others know it."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = key.public_key().public_bytes_raw().hex()

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make a key and its file, which only its owner reads; raises SigningKeyUnusable where there is a file."""
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(pem)
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            raise SigningKeyUnusable(
                f"There is a signing key in {path}. Exports that it signed need its public half; move the file away "
                "before you make another."
            ) from None
        except OSError as error:
            raise SigningKeyUnusable(f"The signing key cannot be kept in {path}: {error.strerror}.") from None
        return cls(key)

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """The key of a file, None without one; raises SigningKeyUnusable for anything else, or where others read it."""
        try:
            if path.stat().st_mode & 0o077:
                raise SigningKeyUnusable(
                    f"Others than its owner may use {path}. Set its mode to 0600: chmod 600 {path}"
                )
            with path.open("rb") as file:
                key = load_pem_private_key(file.read(_MAX_KEY_BYTES), None)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SigningKeyUnusable(f"The signing key in {path} cannot be read: {error.strerror}.") from None
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise SigningKeyUnusable(f"{path} has no Ed25519 key in PEM without a password; name another file.")
        return cls(key)

    def sign(self, data: bytes) -> bytes:
        """The file of a signature over `data`."""
        return Signature(self.public, self._key.sign(data).hex()).to_bytes()


@dataclass(frozen=True)
class Signature:
    """A signature and the public key that it is to be verified with."""

    key: str
    signature: str

    def to_bytes(self) -> bytes:
        """The file: there is one form of it."""
        fields = {"algorithm": ALGORITHM, "key": self.key, "signature": self.signature}
        return json.dumps(fields, indent=1).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read the file; raises SignatureInvalid for anything but the one form."""
        try:
            fields = json.loads(data)
            found = cls(fields["key"], fields["signature"])
            is_whole = (
                _PUBLIC_KEY.fullmatch(found.key) is not None
                and _SIGNATURE.fullmatch(found.signature) is not None
                and found.to_bytes() == data
            )
        except (ValueError, TypeError, KeyError, RecursionError):
            is_whole = False
        if not is_whole:
            raise SignatureInvalid("The signature of the export cannot be read: it was changed. Ask for it again.")
        return found

    def verify(self, data: bytes) -> None:
        """Raise SignatureInvalid unless this key signed exactly `data`."""
        try:
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.key)).verify(bytes.fromhex(self.signature), data)
        except (InvalidSignature, ValueError):
            raise SignatureInvalid(
                "The signature of the export is not one of its manifest: one of them was changed. Ask for it again."
            ) from None


class TrustedKeys:
    """Public keys whose exports are taken, by the names of whose they are; a text file with a line for each."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def all(self) -> dict[str, str]:
        """Names by key; raises SigningKeyUnusable for a file that is none of ours."""
        try:
            with self._path.open("rb") as file:
                text = file.read(_MAX_TRUSTED_BYTES).decode()
            pairs = [line.split(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]
            return {check_public(key): check_name(name) for key, name in pairs}
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise SigningKeyUnusable(f"{self._path} cannot be read: {error.strerror}.") from None
        except ValueError as error:
            raise SigningKeyUnusable(f"{self._path} is no list of trusted keys: {error}.") from None

    def add(self, key: str, name: str) -> None:
        """Trust a key; raises ValueError for what is none, and for a name that cannot be written down."""
        self._write(self.all() | {check_public(key): check_name(name)})

    def remove(self, name_or_key: str) -> int:
        """Trust a key, or all of this name, no more; returns how many it were."""
        keys = self.all()
        kept = {key: name for key, name in keys.items() if name_or_key not in (key, name)}
        self._write(kept)
        return len(keys) - len(kept)

    def _write(self, keys: dict[str, str]) -> None:
        lines = "".join(f"{key} {name}\n" for key, name in sorted(keys.items(), key=lambda item: item[::-1]))
        try:
            write_atomically(self._path, lines.encode(), durable=True)
        except OSError as error:
            raise SigningKeyUnusable(f"{self._path} cannot be written: {error.strerror}.") from None


def check_public(key: str) -> str:
    """Return a public key as it is; raises ValueError for what is none."""
    if _PUBLIC_KEY.fullmatch(key) is None:
        raise ValueError(f"{key[:80]!r} is no public key, which has 64 digits of 0-9 and a-f")
    return key


def check_name(name: str) -> str:
    """Return the name of a signer as it is; raises ValueError for one with other characters."""
    if _SIGNER.fullmatch(name) is None:
        raise ValueError(f"{name[:80]!r} cannot name a signer: use letters, digits, '.', '_', '@' and '-'")
    return name
