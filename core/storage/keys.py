"""Names of objects: how they are made, and the one pattern that every one of them has to match.

Keys are the same for every backend. They name no folder above the storage's own, whatever a caller calls a file.
"""

import hashlib
import re

BITSTREAMS = "bitstreams/"
ORIGINALS = "originals/"
RECONSTRUCTIONS = "reconstructions/"
REFERENCES = "references/"
REQUESTS = "requests/"
RECORDS = "records/"
PACKS = "packs/"
NETWORKS = "networks/"

FOLDERS = (BITSTREAMS, RECORDS, PACKS, ORIGINALS, REFERENCES, NETWORKS, RECONSTRUCTIONS, REQUESTS)
"""Everything that a store of ours has."""

MIRRORED = (BITSTREAMS, RECORDS, PACKS, ORIGINALS, REFERENCES, NETWORKS)
"""What cannot be made again, and so has a second copy where there is a mirror."""

PACKED = (BITSTREAMS, RECORDS)
"""What may lie in a pack."""

# Lower case only: some file systems do not tell cases apart, and two keys must never be one file.
_DIGEST = r"[0-9a-f]{64}"
_EXTENSION = r"[a-z0-9]{1,8}"
_IDENTIFIER = r"[0-9a-z][0-9a-z_-]{0,63}"
_KEY = re.compile(
    rf"bitstreams/(?P<bitstream>{_DIGEST})\.misc"
    rf"|(?:reconstructions|references)/(?P<picture>{_DIGEST})\.{_EXTENSION}"
    rf"|originals/(?:(?P<original>{_DIGEST})|{_IDENTIFIER})(?:\.{_EXTENSION})?"
    rf"|requests/(?P<request>{_DIGEST})\.jsonl"
    rf"|records/(?P<record>{_DIGEST})\.json"
    rf"|packs/(?P<pack>{_DIGEST})\.pack"
    rf"|networks/(?P<network>{_DIGEST})\.(?:weights|json)"
)
_DIGESTS = ("bitstream", "picture", "original", "request", "record", "pack", "network")
_PREFIX = re.compile(
    r"(?:bitstreams|originals|reconstructions|references|requests|records|packs|networks)/[0-9a-z_-]{0,64}"
)


def bitstream_key(sha256: str) -> str:
    """Key of the `.misc` stream with this digest."""
    return check_key(f"{BITSTREAMS}{sha256}.misc")


def original_key(identifier: str, extension: str = "") -> str:
    """Key of a picture that was handed in; the extension is optional and comes without its dot.

    The identifier is its SHA-256, so that images of one content share it. Archives that are older have originals under
    the ids of their images, which stay where they are.
    """
    return check_key(f"{ORIGINALS}{identifier}.{extension}" if extension else f"{ORIGINALS}{identifier}")


def reconstruction_key(sha256: str, extension: str) -> str:
    """Key of the reconstruction whose file has this digest."""
    return check_key(f"{RECONSTRUCTIONS}{sha256}.{extension}")


def reference_key(sha256: str, extension: str) -> str:
    """Key of the reference picture, made by an outside codec, whose file has this digest."""
    return check_key(f"{REFERENCES}{sha256}.{extension}")


def request_key(sha256: str) -> str:
    """Key of the line with this digest that goes to a language model's Batch API."""
    return check_key(f"{REQUESTS}{sha256}.jsonl")


def record_key(sha256: str) -> str:
    """Key of the record of an image whose file has this digest."""
    return check_key(f"{RECORDS}{sha256}.json")


def pack_key(sha256: str) -> str:
    """Key of the pack with this digest."""
    return check_key(f"{PACKS}{sha256}.pack")


def network_key(sha256: str) -> str:
    """Key of the network whose weights' file has this digest."""
    return check_key(f"{NETWORKS}{sha256}.weights")


def network_card_key(sha256: str) -> str:
    """Key of the card of a network; the digest is that of the card's own file."""
    return check_key(f"{NETWORKS}{sha256}.json")


def check_key(key: str) -> str:
    """Return the key as it is; raises ValueError for anything that no function of this module makes."""
    if _KEY.fullmatch(key) is None:
        raise ValueError(f"{key[:100]!r} is no name of an object")
    return key


def check_prefix(prefix: str) -> str:
    """Return a prefix to list by: one of the folders, or the beginning of a name in it; raises ValueError."""
    if _PREFIX.fullmatch(prefix) is None:
        raise ValueError(f"{prefix[:100]!r} is no beginning of an object's name")
    return prefix


def digest_in(key: str) -> str | None:
    """The SHA-256 that a content-addressed key carries; None for originals that are named by their image."""
    match = _KEY.fullmatch(key)
    if match is None:
        return None
    return next((match[group] for group in _DIGESTS if match[group]), None)


def fan_out(key: str) -> str:
    """Two hex digits that spread the objects of a folder evenly over 256 smaller ones."""
    digest = digest_in(key)
    # Identifiers begin with the time: their own first digits would put a whole year into one folder.
    return (digest or hashlib.sha256(key.encode()).hexdigest())[:2]
