"""Files that are there whole or not at all, whenever the process that writes them dies."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path beside `target` for the block to write to: renamed to `target` at its end, deleted when it raises.

    A link stays and what it points to is replaced. A device, pipe or socket cannot be replaced without harm, so the
    block is given itself. Missing folders are made; who may read a file that is replaced stays as it was. Raises
    OSError that names `target`.
    """
    if is_special(target):
        with _named(target, None):
            yield target
        return
    if target.is_symlink():
        target = Path(os.path.realpath(target))
        if target.is_symlink():
            raise OSError(errno.ELOOP, "the link leads to itself", str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    # The target's own name has no part in it: it may be as long as a name can be.
    part = target.with_name(f".{os.getpid()}-{secrets.token_hex(6)}.part")
    try:
        with _named(target, part):
            yield part
            if target.is_file():
                shutil.copymode(target, part)
            part.replace(target)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _named(target: Path, part: Path | None) -> Iterator[None]:
    """Have errors of the system name what the caller knows."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(part), part):
            raise
        raise OSError(error.errno, error.strerror, str(target)) from None


def is_special(path: Path) -> bool:
    """True for what is there and neither a regular file nor a folder, and for another process's open files."""
    if path.is_symlink() and str(path.readlink()).startswith("/proc/"):
        return True  # /dev/stdout and its like, which may lead to a regular file that somebody else writes
    return path.exists() and not path.is_file() and not path.is_dir()


def write_atomically(target: Path, data: bytes, *, durable: bool = False) -> None:
    """Write a file. A `durable` one has reached the disk before it takes the place of the old one."""
    with replacing(target) as part, part.open("wb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())
