"""Files that are there whole or not at all, whenever the process that writes them dies."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path beside `target` for the block to write to: renamed to `target` at its end, deleted when it raises.

    Missing folders are made. Raises OSError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def write_atomically(target: Path, data: bytes, *, durable: bool = False) -> None:
    """Write a file. A `durable` one has reached the disk before it takes the place of the old one."""
    with replacing(target) as part, part.open("wb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())
