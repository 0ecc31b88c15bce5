"""The signing key of this machine's archive, and the keys that it trusts: where their files lie."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.archive.exchange.signature import SigningKey, TrustedKeys


def signing_key_path(data: Path | None) -> Path:
    """The file of MISC_SIGNING_KEY_PATH, else the one in the data folder."""
    from core.settings import SigningSettings, load

    return load(SigningSettings).key_path or _folder(data) / "signing-key.pem"


def signing_key(data: Path | None) -> "SigningKey | None":
    """The key, or None where none was made; raises ServiceError for a file that cannot be used."""
    from core.archive.exchange.signature import SigningKey

    return SigningKey.load(signing_key_path(data))


def trusted_keys(data: Path | None) -> "TrustedKeys":
    """The list of MISC_SIGNING_TRUSTED_PATH, else the one in the data folder."""
    from core.archive.exchange.signature import TrustedKeys
    from core.settings import SigningSettings, load

    return TrustedKeys(load(SigningSettings).trusted_path or _folder(data) / "trusted-keys.txt")


def _folder(data: Path | None) -> Path:
    from cli.local.paths import data_folder

    return data or data_folder()
