"""`.misc` files on this machine, and the pictures that lie beside external ones."""

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path

from codec.media import MISC, SUFFIXES

STREAM_SUFFIX = SUFFIXES[MISC][0]

_MAX_REFERENCE_BYTES = 1 << 30


def is_stream(path: Path) -> bool:
    """True for the name of a `.misc` file."""
    return path.suffix.lower() == STREAM_SUFFIX


def references_beside(stream: Path) -> list[Path]:
    """The files NAME.ref.* beside NAME.misc, by name. Raises OSError."""
    candidates = [path for path in sorted(stream.parent.iterdir()) if path.name.startswith(f"{stream.stem}.ref.")]
    return [path for path in candidates if path.stat().st_size <= _MAX_REFERENCE_BYTES]


def fits(reference: bytes, digest: bytes) -> bool:
    """True when an external stream means this picture."""
    return hashlib.sha256(reference).digest().startswith(digest)


def find_reference(stream: Path) -> Path | None:
    """The picture that an external stream names, where it lies beside it; None too for a stream that cannot be read,
    which whoever takes it in will say. Raises OSError."""
    from codec.bitstream import ExternalCoarse, unpack
    from codec.errors import StreamError
    from codec.limits import MAX_STREAM_BYTES

    with stream.open("rb") as file:
        data = file.read(MAX_STREAM_BYTES + 1)
    try:
        coarse = unpack(data).stream.coarse
    except StreamError:
        return None
    if not isinstance(coarse, ExternalCoarse):
        return None
    return next((path for path in references_beside(stream) if fits(path.read_bytes(), coarse.digest)), None)


def without_companions(files: Sequence[Path], named: Collection[Path]) -> tuple[set[Path], list[str]]:
    """What is to be sent of `files`, and a sentence on what is not.

    Pictures NAME.ref.* go with their NAME.misc. A stream of a folder is left out where the picture that it was made of
    lies beside it and is sent; one that is `named` is taken.
    """
    stems = {path.with_suffix("") for path in files if is_stream(path)}
    kept = [path for path in files if not _is_reference(path, stems)]
    pictures = {path.with_suffix("") for path in kept if not is_stream(path)}
    doubles = {path for path in kept if is_stream(path) and path.with_suffix("") in pictures} - set(named)
    sentence = f"{len(doubles)} {STREAM_SUFFIX} files left out, because the pictures beside them are sent."
    return set(kept) - doubles, [sentence] if doubles else []


def _is_reference(path: Path, stems: Collection[Path]) -> bool:
    stem, mark, _ = path.name.rpartition(".ref.")
    return bool(mark) and path.with_name(stem) in stems
