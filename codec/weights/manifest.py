"""What is known of a network's weights before they are here: name, digest, size, licence, where they can be had.

Describes only; the entries themselves are in `released`.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from codec.options import Profile

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
"""Names become file names and words of a command line."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_DIGEST_PREFIX = re.compile(r"[0-9a-f]{8,63}")


class Part(StrEnum):
    """What a file of weights is for."""

    COARSE = "coarse"
    """A learned codec; a stream that was made with it cannot be read without it."""
    CLIP = "clip"
    """The image and text encoders that find named things in a picture."""
    STAGE1 = "stage1"
    """The network that makes a picture of a coarse one in a single look, without texts."""
    RESTORER = "restorer"
    """All networks that restore, in one file."""
    BASE = "base"
    """A text-to-image model without the network that steers it."""
    CONTROL = "control"
    """The network that steers the text-to-image model by the coarse picture."""
    SWINIR = "swinir"
    """The stage-1 clean-up of DiffBIR, whatever its architecture."""
    TAGGER = "tagger"
    """Classifier, detector and saliency mask, by which the built-in describer names things."""


@dataclass(frozen=True)
class Licence:
    """Under which terms the publisher gives the file; `identifier` as in SPDX where SPDX has one."""

    identifier: str
    link: str


@dataclass(frozen=True)
class HubSource:
    """A file in a repository of the model hub, reached through an endpoint that can be replaced by a mirror of it."""

    repository: str
    file: str
    revision: str = "main"

    def address(self, hub_endpoint: str) -> str:
        """Its URL at `hub_endpoint`."""
        return f"{hub_endpoint.rstrip('/')}/{self.repository}/resolve/{self.revision}/{self.file}"


@dataclass(frozen=True)
class URLSource:
    """A file at a plain http(s) address."""

    url: str

    def address(self, hub_endpoint: str) -> str:
        """Its URL; the hub has no part in it."""
        return self.url


@dataclass(frozen=True)
class PathSource:
    """A file on this machine."""

    path: str

    def address(self, hub_endpoint: str) -> str:
        """The path, `~` resolved; the hub has no part in it."""
        return str(Path(self.path).expanduser())


Source = HubSource | URLSource | PathSource


@dataclass(frozen=True)
class Released:
    """One published file of weights.

    `bytes` and `sha256` are None where nobody has published them; such a file is *not pinned* and is fetched only by
    somebody who says that its first download is to be trusted. `sha256_prefix` is what a publisher put into the file's
    name. `rate` None serves every rate, `scale` is the reduction that a codec is made for. `is_binding` marks what
    streams name by digest: never changed or removed once released. `is_alternative` marks what the profile can do
    without, another form or an earlier one: it is fetched by its own name only.
    """

    name: str
    part: Part
    architecture: str
    file_name: str
    licence: Licence
    sources: tuple[Source, ...]
    profiles: tuple[Profile, ...] = ()
    bytes: int | None = None
    sha256: str | None = None
    sha256_prefix: str | None = None
    rate: int | None = None
    scale: int | None = None
    is_binding: bool = False
    is_alternative: bool = False

    def __post_init__(self) -> None:
        """Refuse entries that could not be fetched or found."""
        if not NAME.fullmatch(self.name) or not self.file_name or "/" in self.file_name:
            raise ValueError(f"{self.name!r} / {self.file_name!r} cannot name weights")
        if self.sha256 is not None and not _DIGEST.fullmatch(self.sha256):
            raise ValueError(f"{self.name}: no SHA-256: {self.sha256!r}")
        if self.sha256_prefix is not None and not _DIGEST_PREFIX.fullmatch(self.sha256_prefix):
            raise ValueError(f"{self.name}: no prefix of a SHA-256: {self.sha256_prefix!r}")

    @property
    def is_pinned(self) -> bool:
        """Whether the whole digest is known beforehand."""
        return self.sha256 is not None

    def agrees_with(self, sha256: str) -> bool:
        """Whether a file with this digest can be the released one, as far as its digest is known."""
        return sha256.startswith(self.sha256 or self.sha256_prefix or "")

    def may_be_named_by(self, prefix: str) -> bool:
        """Whether a stream's digest prefix (hexadecimal) can mean this file; never true of what has no digest."""
        known = self.sha256 or self.sha256_prefix
        return known is not None and known.startswith(prefix[: len(known)])
