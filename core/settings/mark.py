"""Settings of the mark on reconstructions: who signs it, and whose signatures are trusted."""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from core.errors import SettingsInvalid
from core.settings.environment import EnvironmentSettings

if TYPE_CHECKING:
    from codec.picture.credentials import Signer


class MarkSettings(EnvironmentSettings):
    """Every reconstruction says what made it; with a certificate it does so signed, as C2PA content credentials."""

    model_config = SettingsConfigDict(env_prefix="MISC_MARK_")

    certificate: Path | None = Field(
        None, description="PEM file with the certificate that signs reconstructions, then those that vouch for it"
    )
    key: Path | None = Field(None, description="PEM file with the private key of that certificate, without a password")
    trusted: Path | None = Field(
        None, description="PEM file with the authorities whose signatures `misc inspect` calls trusted"
    )

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("MISC_MARK_CERTIFICATE and MISC_MARK_KEY belong together; only one of them is set")
        return self

    def signer(self) -> "Signer | None":
        """Who signs, after a trial; None where nobody does. Raises SettingsInvalid for files that cannot sign."""
        return None if self.certificate is None or self.key is None else _signer_of(self.certificate, self.key)

    def authorities(self) -> bytes | None:
        """Certificates of the authorities that are trusted, PEM. Raises SettingsInvalid."""
        try:
            return None if self.trusted is None else self.trusted.read_bytes()
        except OSError as error:
            raise SettingsInvalid(f"MISC_MARK_TRUSTED: {self.trusted} cannot be read: {error.strerror}.") from None


@lru_cache(maxsize=1)
def _signer_of(certificate: Path, key: Path) -> "Signer":
    from codec.errors import FeatureUnavailable, SignerUnusable
    from codec.picture.credentials import Signer

    try:
        return Signer.load(certificate, key)
    except (SignerUnusable, FeatureUnavailable) as error:
        raise SettingsInvalid(f"MISC_MARK_CERTIFICATE: {error}") from None
